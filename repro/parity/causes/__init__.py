"""The causes of errors: places that err by themselves, hints at single arrays, and formulas of wrong values."""
