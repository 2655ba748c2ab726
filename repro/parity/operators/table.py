"""Every operator by name."""

from __future__ import annotations

from repro.errors import unknown
from repro.parity.operators.activations import ACTIVATIONS
from repro.parity.operators.arithmetic import ARITHMETIC
from repro.parity.operators.convolutions import CONVOLUTIONS
from repro.parity.operators.losses import LOSSES
from repro.parity.operators.norms import NORMS
from repro.parity.operators.operator import Operator
from repro.parity.operators.pools import POOLS
from repro.parity.operators.resizing import RESIZING

OPERATORS = {
    operator.name: operator
    for operator in (*CONVOLUTIONS, *NORMS, *POOLS, *RESIZING, *ACTIVATIONS, *LOSSES, *ARITHMETIC)
}


def find_operator(name: str) -> Operator:
    """The operator of this name. Raises ReproError if there is none."""
    if name not in OPERATORS:
        raise unknown("operator", name, OPERATORS)
    return OPERATORS[name]
