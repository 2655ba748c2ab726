"""The type of what passes between rooms: NumPy arrays by name."""

from __future__ import annotations

import numpy as np

Arrays = dict[str, np.ndarray]
"""Arrays under their names: canonical ones unless a docstring says otherwise."""
