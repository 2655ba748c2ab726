"""Models of timm as functions: `timm_models:resnet18`. GhostNet is built without its dropout, which is not a module.

LeViT has one head, as in PaddleClas, and Swin drops no paths, as in MindCV.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import timm


def __getattr__(name: str) -> Callable[[], Any]:
    if name.startswith("_") or not timm.is_model(name):
        raise AttributeError(name)
    settings: dict[str, Any] = {"drop_rate": 0.0} if name.startswith("ghostnet") else {}
    settings |= {"distilled": False} if name.startswith("levit") else {}
    settings |= {"drop_path_rate": 0.0} if name.startswith("swin") else {}
    return partial(timm.create_model, name, num_classes=10, **settings)
