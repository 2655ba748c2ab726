"""The agreement of the core and the backends: the contract, the settings of a training step, and backend discovery.

Importing it loads neither NumPy nor a framework, so that `--help` is quick.
"""

from repro.interface.contract import Backend, NativeWeights, Trainer
from repro.interface.settings import TrainSettings

__all__ = ["Backend", "NativeWeights", "TrainSettings", "Trainer"]
