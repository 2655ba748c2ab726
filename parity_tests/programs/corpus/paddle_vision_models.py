"""Models of paddle.vision as functions: `paddle_vision_models:resnet18`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import paddle


def __getattr__(name: str) -> Callable[[], Any]:
    if name.startswith("_") or not hasattr(paddle.vision.models, name):
        raise AttributeError(name)
    return partial(getattr(paddle.vision.models, name), num_classes=10)
