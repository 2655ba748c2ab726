"""One package per framework, with the same file names in each; repro/interface.py says what they have to do."""
