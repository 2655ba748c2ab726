"""Models of MindCV as functions: `mindcv_models:resnet18`. GhostNet is built without dropout, as timm's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import mindcv


def __getattr__(name: str) -> Callable[[], Any]:
    if name.startswith("_") or not mindcv.models.is_model(name):
        raise AttributeError(name)
    settings = {"drop_rate": 0.0} if name.startswith("ghostnet") else {}
    return partial(mindcv.create_model, name, num_classes=10, **settings)
