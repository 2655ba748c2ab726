"""Single faults, planted one at a time into a backend: `python -m parity_tests.faults`.

Each must be caught, and the report must name the operator in which it was planted.
"""
