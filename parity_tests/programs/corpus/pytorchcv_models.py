"""Models of pytorchcv as functions: `pytorchcv_models:resnet18`. Their pooling is made to fit small images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pytorchcv.model_provider import _models
from torch import nn


def build(name: str) -> nn.Module:
    """Return a model with 10 classes whose last pooling is global."""
    model = _models[name](num_classes=10)
    if hasattr(model.features, "final_pool"):
        model.features.final_pool = nn.AdaptiveAvgPool2d(1)
    return model


def __getattr__(name: str) -> Callable[[], Any]:
    if name not in _models:
        raise AttributeError(name)
    return partial(build, name)
