"""Programs that tests run in the process of a backend: a test process itself never imports a framework.

A program is a function of a module here. It takes and returns what JSON can hold, imports frameworks inside the
function, and is run with the fixture `run_program`.
"""
