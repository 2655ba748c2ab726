"""The PyTorch backend: `create_model("asymmnet_large", num_classes=16)` returns a plain torch.nn.Module."""

from repro.interface.lazy import functions_of

__getattr__ = functions_of(__name__)


def version() -> str:
    """Return PyTorch's version. Raises ImportError where it is not installed."""
    import torch

    return torch.__version__
