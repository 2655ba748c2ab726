"""One package per framework. All have the same file names and provide what repro/interface/contract.py defines."""
