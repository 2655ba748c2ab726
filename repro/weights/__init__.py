"""Canonical weights: a dictionary name -> NumPy array, the only form in which weights pass between backends.

Convolutions have the shape (out, in / groups, kh, kw), linear layers (out, in), normalisations a weight, bias,
running_mean and running_var of shape (channels,). A name is the path of attributes in the model, equal in every
backend, such as "stages.0.1.expand.conv.weight".
"""

from __future__ import annotations

from collections.abc import Callable

Log = Callable[[str], object]  # receives a line about each decision that a reader takes: print, list.append, ...
