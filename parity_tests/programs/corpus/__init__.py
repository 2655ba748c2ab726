"""Models of packages as functions without arguments, "MODULE:MODEL", for parity_tests/corpus."""
