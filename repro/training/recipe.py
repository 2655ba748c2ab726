"""Every value that decides a run. The fields of Recipe are the keys of the YAML files and the flags of the command."""

from __future__ import annotations

import argparse
import dataclasses
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.errors import ReproError, unknown
from repro.files import read_yaml
from repro.training.schedules import SCHEDULES
from repro.training.value_types import Kind, number, one_of, pairs, per_channel, split, text, whole, yes_or_no

GROWING = ("image_size", "magnitude", "mixup", "dropout")
LOGS = ("tensorboard", "visualdl")
# as in repro.data and repro.interface, which need NumPy: --help is quick
RESIZES, MODES = ("squash", "crop"), ("batch", "pair", "elem")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "rmsprop_tf")
PRECISIONS = ("float32", "bfloat16", "float16")
DEVICES = ("cpu", "gpu")
LARGEST_FILE = 1 << 16  # bytes; a recipe has a few hundred


def setting(kind: Kind, help: str, default: Any = dataclasses.MISSING) -> Any:
    metadata = {"kind": kind, "help": help}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run's values. None stands for what `repro.run` works out from the model and the data, or for "not at all"."""

    backend: str = setting(text("NAME"), "torch, paddle, mindspore, or another one that is installed")
    model: str = setting(text("NAME"), "a variant that `python -m repro.models` lists")
    options: Mapping[str, int | float | str] = setting(
        pairs(), "an option of the model's family, such as width=0.5; may be repeated", {}
    )
    weights: str | None = setting(text("FILE"), "a checkpoint to start from instead of fresh weights", None)
    fresh_head: bool = setting(yes_or_no(), "the classifier of --weights is left out, and a fresh one trained", False)
    train_only: str | None = setting(
        text("NAME"), "only weights whose names begin so are trained, such as classifier", None
    )

    data: str = setting(
        text("DATA"), "digits (embedded), a folder or .tar of class folders or of train/ and val/ of them, or MNIST's",
        "digits",
    )  # fmt: skip
    split: str | float = setting(
        split(),
        "what validates: every fifth image of each class, or a fraction X of it drawn with the seed",
        "every-fifth",
    )
    channels: int = setting(whole(1, 3), "of the images: 3 (RGB) or 1 (grey)", 3)
    image_size: int | None = setting(
        whole(8, 2048), "side in pixels (default: 32 for digits, otherwise what the model was published at)", None
    )
    resize: str = setting(
        one_of(*RESIZES), "squash: to a square; crop: a random part in training, the centre in validation", "squash"
    )
    mean: tuple[float, ...] = setting(
        per_channel(number(0, 1)), "subtracted from pixels, which are from 0 to 1", (0.5,)
    )
    std: tuple[float, ...] = setting(per_channel(number(0, 1, above=True)), "what pixels are then divided by", (0.5,))
    pad: int = setting(whole(0, 64), "training images are padded by so many pixels and cut out at random", 0)
    rotation: float = setting(number(0, 180), "training images are turned by up to so many degrees", 0.0)
    flip: float = setting(number(0, 1), "probability of a training image to be mirrored left to right", 0.0)
    rand_augment: int = setting(whole(0, 10), "operations of RandAugment on a training image", 0)
    magnitude: float = setting(number(0, 10), "of RandAugment", 9.0)
    cutout: float = setting(number(0, 1), "probability of a training image to lose a rectangle", 0.0)
    mixup: float = setting(number(0, 1000), "alpha of mixup (0: none)", 0.0)
    cutmix: float = setting(number(0, 1000), "alpha of CutMix (0: none)", 0.0)
    mix_probability: float = setting(number(0, 1), "of being mixed", 1.0)
    mix_switch: float = setting(number(0, 1), "probability of CutMix where there is mixup, too", 0.5)
    mix_mode: str = setting(one_of(*MODES), "what is mixed in its own way", "batch")

    batch_size: int = setting(whole(2, 65536), "images per step", 64)  # 1 has no batch statistics
    epochs: int = setting(whole(1, 100_000), "passes over the training images", 12)
    stages: int = setting(whole(1, 100), "of progressive learning: equal parts of the run (1: none)", 1)
    first_stage: Mapping[str, int | float | str] = setting(
        pairs(), f"a value of the first stage, of {', '.join(GROWING)}, from which it grows evenly; may be repeated",
        {},
    )  # fmt: skip
    optimizer: str = setting(one_of(*OPTIMIZERS), "whose formulas are in repro/interface.py", "sgd")
    lr: float = setting(number(0, 1000, above=True), "the first learning rate", 0.05)
    schedule: str = setting(
        one_of(*SCHEDULES), "how the learning rate falls after --warmup: docs/recipes.md tells of each", "cosine"
    )  # fmt: skip
    lr_end: float = setting(number(0, 1), "the part of the learning rate that cosine and linear fall to", 0.0)
    warmup: float = setting(number(0, 1000), "epochs in which the learning rate rises first", 0.0)
    momentum: float = setting(number(0, 0.9999), "of SGD and RMSProp", 0.9)
    nesterov: bool = setting(yes_or_no(), "Nesterov's momentum for SGD", False)
    alpha: float = setting(number(0, 0.9999), "of RMSProp", 0.99)
    eps: float = setting(number(0, 1, above=True), "of Adam, AdamW and RMSProp", 1e-8)
    weight_decay: float = setting(number(0, 1), "on every trained weight", 1e-4)
    spare_bias_and_norm: bool = setting(yes_or_no(), "weight decay is for weights of two axes or more", False)
    clip_norm: float | None = setting(number(0, 1e6, above=True), "the largest norm that all gradients may have", None)
    label_smoothing: float = setting(number(0, 0.99), "the part of a label that all classes share", 0.0)
    ema_decay: float | None = setting(
        number(0, 0.999999), "of the average of the weights, which is then what is validated and kept", None
    )
    ema_warmup: bool = setting(yes_or_no(), "the average forgets the first weights sooner", False)
    precision: str = setting(one_of(*PRECISIONS), "of convolutions and matrix products", "float32")
    device: str = setting(one_of(*DEVICES), "where the network computes", "cpu")
    seed: int = setting(whole(0, 2**31 - 1), "decides fresh weights, order, augmentation and dropout", 0)
    workers: int = setting(whole(0, 256), "processes that read images (0: none)", 0)
    logs: str | None = setting(one_of(*LOGS), "logs for these viewers, in the run folder", None)


FIELDS = {item.name: item for item in dataclasses.fields(Recipe)}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for each field. What the user leaves out is left out of the parsed namespace."""
    for name, item in FIELDS.items():
        help = item.metadata["help"]
        if item.default not in (None, dataclasses.MISSING):
            default = item.default if not isinstance(item.default, tuple) else " ".join(map(str, item.default))
            help += f" (default: {default})"
        # % is a format character of argparse's help
        parser.add_argument(
            _flag(name),
            dest=name,
            default=argparse.SUPPRESS,
            help=help.replace("%", "%%"),
            **item.metadata["kind"].argument,
        )


def _flag(name: str) -> str:
    return "--option" if name == "options" else f"--{name.replace('_', '-')}"


def convert(values: Mapping[Any, Any], source: str) -> dict[str, Any]:
    """The values of a recipe with their final types. `source` begins the errors: a file's name, or "" for flags.

    Raises ReproError for an unknown key, a wrong type and a value out of range.
    """
    converted = {}
    for key, value in values.items():
        if key not in FIELDS:
            raise unknown(f"key in {source}", reprlib.repr(key) if not isinstance(key, str) else key, FIELDS)
        item = FIELDS[key]
        try:
            converted[key] = None if value is None and item.default is None else item.metadata["kind"].convert(value)
        except (ValueError, TypeError, OverflowError) as error:
            name = f"{source}: {key}" if source else _flag(key)
            raise ReproError(f"{name} must be {item.metadata['kind'].expects}, not {reprlib.repr(value)}") from error
    return converted


def read(path: str | Path) -> dict[str, Any]:
    """The converted values of a YAML recipe. Raises ReproError for a file that is not one."""
    values = read_yaml(path, "recipe", "see configs/ for examples", LARGEST_FILE)
    return convert(values, str(path))


def make(values: Mapping[str, Any], flags: Mapping[str, Any]) -> Recipe:
    """The recipe of converted values, over which the flags win; options and the first stage are merged one by one."""
    merged = {**values, **flags}
    for name in {"options", "first_stage"} & values.keys() & flags.keys():
        merged[name] = {**values[name], **flags[name]}
    for name, item in FIELDS.items():
        if name not in merged and item.default is item.default_factory is dataclasses.MISSING:
            raise ReproError(f"{_flag(name)} is missing: {item.metadata['help']}")
    return Recipe(**merged)


def to_yaml(recipe: Recipe) -> str:
    """The recipe as `read` reads it."""
    import yaml

    values = {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(recipe).items()
    }
    return yaml.safe_dump(values, sort_keys=False)
