"""The PyTorch backend: `create_model("asymmnet_large", num_classes=16)` returns a plain torch.nn.Module."""

from repro.interface.lazy import functions_of

__getattr__ = functions_of(__name__)


def version() -> str:
    """Return PyTorch's version. Raises ImportError where it is not installed."""
    import os

    # log errors only, where C++ warns about hosts without names, and of the search for unused weights (see trainer.py)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("KERAS_BACKEND", "torch")  # for user models of Keras
    import torch

    return torch.__version__
