"""Models of timm as functions: `timm_models:resnet18`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import timm


def __getattr__(name: str) -> Callable[[], Any]:
    if name.startswith("_") or not timm.is_model(name):
        raise AttributeError(name)
    return partial(timm.create_model, name, num_classes=10)
