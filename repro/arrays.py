"""The type that the core and the backends exchange: NumPy arrays by name."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]
"""Arrays under their names, which are canonical unless a docstring states otherwise."""
