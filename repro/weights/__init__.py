"""Canonical weights: name -> NumPy array, the only thing that passes between backends.

Convolution (out, in / groups, kh, kw), linear (out, in), normalisation weight, bias, running_mean, running_var; the
names are the attribute paths of the model, equal in every backend.
"""
