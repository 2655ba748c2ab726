"""Models of timm as functions: `timm_models:resnet18`. GhostNet is built without its dropout, which is no module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import timm


def __getattr__(name: str) -> Callable[[], Any]:
    if name.startswith("_") or not timm.is_model(name):
        raise AttributeError(name)
    settings = {"drop_rate": 0.0} if name.startswith("ghostnet") else {}
    return partial(timm.create_model, name, num_classes=10, **settings)
