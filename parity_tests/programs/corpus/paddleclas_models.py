"""Models of PaddleClas as functions: `paddleclas_models:ResNet18`.

Its networks are imported without the package around them, which needs OpenCV and faiss.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import paddle

package = find_spec("paddleclas")
assert package and package.submodule_search_locations
sys.path.append(package.submodule_search_locations[0])

import ppcls.arch.backbone as networks  # noqa: E402
from ppcls.utils import logger  # noqa: E402

logger.init_logger()  # the networks log while they are built


def build(name: str) -> Any:
    """Return a model with 10 classes, and without values and connections that functions drop at random."""
    settings: dict[str, Any] = {}
    if name.startswith("EfficientNetB"):
        settings = {"override_params": {"drop_connect_rate": 0.0}}
    elif name == "PeleeNet":
        settings = {"drop_rate": 0.0}
    with paddle.utils.unique_name.guard():  # two networks have parameters of the same names
        return getattr(networks, name)(class_num=10, **settings)


def __getattr__(name: str) -> Callable[[], Any]:
    if name.startswith("_") or not hasattr(networks, name):
        raise AttributeError(name)
    return partial(build, name)
