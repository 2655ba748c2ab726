"""The pairs and triples of models of packages, and where those that differ are known to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FRAMEWORKS = {
    "torchvision": "torch",
    "timm": "torch",
    "pytorchcv": "torch",
    "paddle_vision": "paddle",
    "paddleclas": "paddle",
    "mindcv": "mindspore",
}


@dataclass(frozen=True)
class Pair:
    """Two or three models that claim to be the same network.

    name: "PACKAGE:MODEL PACKAGE:MODEL", the packages being modules of parity_tests/programs/corpus; side: of the images
    in pixels; differs: backend -> the rung and the place where it is known to differ from the first; cause: why, in the
    table; error: of a pair that cannot be compared; core: whether it runs in the tests.
    """

    name: str
    side: int = 64
    differs: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    cause: str = ""
    error: str = ""
    core: bool = False

    @property
    def functions(self) -> dict[str, str]:
        """Backend -> "PACKAGE:MODEL"."""
        return {FRAMEWORKS[function.partition(":")[0]]: function for function in self.name.split()}

    @property
    def sources(self) -> dict[str, str]:
        """Backend -> "MODULE:FUNCTION"."""
        return {
            backend: "parity_tests.programs.corpus.{}_models:{}".format(*function.split(":"))
            for backend, function in self.functions.items()
        }


PAIRS = [
    Pair("torchvision:resnet18 paddle_vision:resnet18"),
    Pair("torchvision:resnet18 paddle_vision:resnet18 mindcv:resnet18"),
]
