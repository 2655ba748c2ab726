"""Models of torchvision as functions: `torchvision_models:resnet18`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torchvision

SETTINGS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"init_weights": False},
}
RANDOM = {"convnext_tiny": "stochastic_depth_prob", "efficientnet_b0": "stochastic_depth_prob"}


def __getattr__(name: str) -> Callable[[], Any]:
    if name.startswith("_") or name not in torchvision.models.list_models():
        raise AttributeError(name)
    settings = SETTINGS.get(name, {}) | ({RANDOM[name]: 0.0} if name in RANDOM else {})
    return partial(torchvision.models.get_model, name, num_classes=10, **settings)
