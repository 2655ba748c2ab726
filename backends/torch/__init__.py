"""PyTorch. `create_model("asymmnet_large", num_classes=16)` is a plain torch.nn.Module."""

from repro.interface.lazy import functions_of

__getattr__ = functions_of(__name__)


def version() -> str:
    import torch

    return torch.__version__
