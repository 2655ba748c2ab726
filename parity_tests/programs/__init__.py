"""Programs that tests run in the process of a backend: a test process itself never imports a framework.

A program is a function of a module here. It takes and returns what JSON can hold, imports frameworks inside the
function, and is run with the fixture `run_program`. Modules with a guard `if __name__ == "__main__"` are run as
`python -m`, for tests of what a new process does.
"""
