"""What the core and the backends agree on: the contract, the settings of a training step, and how backends are found.

Importing it loads neither NumPy nor a framework, so that `--help` is quick.
"""

from repro.interface.contract import Backend, NativeWeights, Trainer
from repro.interface.settings import TrainSettings

__all__ = ["Backend", "NativeWeights", "TrainSettings", "Trainer"]
