"""One published weight file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# The publisher -> the backend whose interpreter has its package installed
PUBLISHERS = {
    "torchvision": "torch",
    "timm": "torch",
    "keras": "torch",
    "paddle.vision": "paddle",
    "mindcv": "mindspore",
}


@dataclass(frozen=True, kw_only=True)
class PublishedWeights:
    """A weight file that can be downloaded, as its publisher describes it.

    name: the publisher's name of the model, with its tag where it has several ("mobilenet_v2.IMAGENET1K_V2");
    variant: the variant of this repository that computes the same; file: the name in the publisher's own cache;
    sha256: the whole digest or its first digits; md5: the whole digest; size: in bytes, if the publisher gives it;
    top1: published top-1 accuracy on ImageNet-1k in [0, 1]; hub: the Hugging Face repository that holds the file,
    instead of a URL; preprocessing: image_size, interpolation, mean, std, crop_fraction or resize; empty if unknown.
    """

    publisher: str
    name: str
    variant: str
    file: str
    url: str = ""
    hub: str = ""
    sha256: str = ""
    md5: str = ""
    size: int | None = None
    license: str = ""
    top1: float | None = None
    classes: int = 1000
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """The name that --weights and SRC take, such as "torchvision:mobilenet_v2"."""
        return f"{self.publisher}:{self.name}"

    @property
    def cached(self) -> Path | None:
        """The path of the file in the publisher's cache, where it exists."""
        path = hub_file(self) if self.hub else cache_folder(self.publisher) / self.file
        return path if path and path.is_file() else None

    def to_json(self) -> dict[str, Any]:
        """The fields that are set, as JSON holds them."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None, {})}


def cache_folder(publisher: str) -> Path:
    """The folder in which the publisher's own package keeps downloaded weights."""
    home = Path.home()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    match publisher:
        case "torchvision" | "timm":  # timm's files with a plain address go to torch hub's cache
            return Path(os.environ.get("TORCH_HOME") or cache / "torch") / "hub" / "checkpoints"
        case "keras":
            return Path(os.environ.get("KERAS_HOME") or home / ".keras") / "models"
        case "paddle.vision":
            return home / ".cache" / "paddle" / "hapi" / "weights"
        case "mindcv":
            return home / ".mindspore" / "models"
    raise AssertionError(publisher)


def hub_file(entry: PublishedWeights) -> Path | None:
    """The file in the Hugging Face cache, found without that library: models--OWNER--NAME/snapshots/*/FILE."""
    return next(iter(sorted(snapshots_folder(entry).glob(f"*/{entry.file}"))), None)


def snapshots_folder(entry: PublishedWeights) -> Path:
    """The folder of the entry's repository in the Hugging Face cache, with a folder for each revision."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return hub / f"models--{entry.hub.replace('/', '--')}" / "snapshots"
