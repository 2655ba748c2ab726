"""Single operators: each defined in NumPy, called in every framework, and compared with its own documentation."""
