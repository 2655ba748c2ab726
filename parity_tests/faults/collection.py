"""Every planted fault."""

from __future__ import annotations

from parity_tests.faults.forward import FORWARD
from parity_tests.faults.operators import OPERATORS
from parity_tests.faults.optimizers import OPTIMIZERS
from parity_tests.faults.training import TRAINING

LADDER = [0, 1, 2, 3, 4, 5, 6]  # on rung 7, sound backends differ, too
ALL_FAULTS = (*OPERATORS, *FORWARD, *TRAINING, *OPTIMIZERS)
