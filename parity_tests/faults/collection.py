"""All planted faults."""

from __future__ import annotations

from parity_tests.faults.forward import FORWARD
from parity_tests.faults.operators import OPERATORS
from parity_tests.faults.optimizers import OPTIMIZERS
from parity_tests.faults.training import TRAINING

LADDER = [0, 1, 2, 3, 4, 5, 6]  # rung 7 compares accuracies, in which sound backends differ as well
ALL_FAULTS = (*OPERATORS, *FORWARD, *TRAINING, *OPTIMIZERS)
