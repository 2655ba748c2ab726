"""Planted faults: typical mistakes, planted one at a time into a backend. `python -m parity_tests.faults` plants all.

The ladder must catch each fault on its rung, and the report must name the operator, weight or optimizer that has it.
"""
