"""Scripts that compute with the framework of a worker: single operators, rather than a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from repro.arrays import Arrays


def run_script(arrays: Arrays, script: str) -> tuple[str | None, Arrays]:
    """Run statements of this repository that turn the arrays, under their names, into the dictionary `results`.

    Returns None and the results, or what the framework raised and nothing.
    """
    names: dict[str, Any] = {"np": np, "__name__": "script"} | {name: np.array(array) for name, array in arrays.items()}
    try:
        exec(script, names)
    except Exception as error:  # the framework may raise anything
        lines = [line for line in str(error).splitlines() if any(map(str.isalpha, line))]
        return f"{type(error).__name__}: {lines[0] if lines else ''}", {}
    return None, {name: np.array(array, order="C") for name, array in names["results"].items()}
