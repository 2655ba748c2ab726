"""The recipe: all values that decide a run. Its fields are keys of YAML recipes and flags of repro.run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from repro.choices import (
    BALANCES,
    CHANNELS,
    CHECKS,
    DECODINGS,
    DEVICES,
    INTERPOLATIONS,
    MIX_MODES,
    OPTIMIZERS,
    PRECISIONS,
    RANGES,
    RESIZES,
    Range,
)
from repro.interface.threads import MOST_THREADS
from repro.training.loggers import WRITERS
from repro.training.schedules import SCHEDULES
from repro.training.value_types import (
    ValueType,
    boolean,
    named_values,
    number,
    one_of,
    one_of_integers,
    per_channel,
    split,
    text,
    two_numbers,
)

GROWING = ("image_size", "magnitude", "mixup", "dropout")
"""The values that progressive learning can increase from stage to stage."""
GROUPS = ("model", "data", "augmentation", "optimisation", "run")
"""The groups of fields, in the order of --help."""


def recipe_field(
    group: str, value_type: ValueType, help: str, default: Any = dataclasses.MISSING, *, default_text: str = ""
) -> Any:
    """Return a field of Recipe.

    Args:
        group: One of GROUPS.
        value_type: The type of its value.
        help: What the value does; --help adds the range and the default.
        default: Its default; without one, the value is required.
        default_text: The default in words, where the value itself does not explain it.
    """
    metadata = {"group": group, "type": value_type, "help": help, "default_text": default_text}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The values of a run. None stands for "derived from model and data" or for "off", as each field explains."""

    backend: str = recipe_field("model", text("NAME"), "framework: torch, paddle, mindspore or an installed plug-in")
    model: str = recipe_field("model", text("NAME"), "variant of a network; `python -m repro.models` lists all of them")
    options: Mapping[str, int | float | str] = recipe_field(
        "model", named_values(), "option of the model's family, such as width=0.5; may be repeated", {}
    )
    weights: str | None = recipe_field(
        "model", text("FILE"), "weight file or published weights to start from, as for repro.port, or none", None,
        default_text="freshly initialised weights",
    )  # fmt: skip
    fresh_head: bool = recipe_field(
        "model", boolean(), "initialise the classifier freshly instead of loading it from --weights", False
    )
    train_only: str | None = recipe_field(
        "model", text("NAME"), "train only the weights whose names start with this, such as classifier", None,
        default_text="train all weights",
    )  # fmt: skip
    train_only_epochs: int | None = recipe_field(
        "model", number(Range(1, 100_000, integer=True)), "epochs of --train-only, after which all weights are trained",
        None, default_text="all epochs",
    )  # fmt: skip

    data: str = recipe_field(
        "data", text("DATA"),
        "digits (embedded), a folder or .tar of CLASS/IMAGE or of train/CLASS/IMAGE and val/CLASS/IMAGE, shards of "
        "WebDataset, Parquet files, a .csv of paths and labels, or a folder of MNIST's idx files",
        "digits",
    )  # fmt: skip
    split: str | float = recipe_field(
        "data", split(),
        "validation images: every fifth of each class, or a fraction of each class drawn with --seed",
        "every-fifth",
    )  # fmt: skip
    balance: str | None = recipe_field(
        "data", one_of(*BALANCES),
        "make all classes count the same in training: draw equally many images of each, or weight their losses", None,
        default_text="no balance",
    )  # fmt: skip
    channels: int = recipe_field("data", one_of_integers(*CHANNELS), "image channels: 3 (RGB) or 1 (grey)", 3)
    image_size: int | None = recipe_field(
        "data", number(RANGES["image_size"]), "height and width in pixels to which images are resized", None,
        default_text="32 for digits, otherwise the model's published size",
    )  # fmt: skip
    resize: str = recipe_field(
        "data", one_of(*RESIZES),
        "squash: resize to a square; crop: resize a random crop in training, and crop the centre in validation",
        "squash",
    )  # fmt: skip
    crop_fraction: float = recipe_field(
        "data", number(RANGES["crop_fraction"]), "fraction of the shorter side that the centre crop keeps", 0.875
    )
    interpolation: str = recipe_field("data", one_of(*INTERPOLATIONS), "method of resizing", "bilinear")
    decode: str = recipe_field(
        "data", one_of(*DECODINGS),
        "exact: decode JPEG files in full; fast: decode large ones in the smallest size that suffices, and resize with "
        "cykooz-resizer, which changes pixels slightly", "exact",
    )  # fmt: skip
    mean: tuple[float, ...] = recipe_field(
        "data", per_channel(RANGES["mean"]),
        "mean that is subtracted from the pixels, which are scaled to 0..1: one number, or one per channel", (0.5,),
    )  # fmt: skip
    std: tuple[float, ...] = recipe_field(
        "data", per_channel(RANGES["std"]),
        "standard deviation by which the pixels minus --mean are divided: one number, or one per channel", (0.5,),
    )  # fmt: skip
    pad: int = recipe_field(
        "augmentation", number(RANGES["pad"]),
        "pad training images by this many black pixels on each side, then cut out a random window", 0,
    )  # fmt: skip
    rotation: float = recipe_field(
        "augmentation", number(RANGES["rotation"]), "rotate training images by a random angle of up to X degrees", 0.0
    )
    flip: float = recipe_field(
        "augmentation", number(RANGES["flip"]), "probability of mirroring a training image left to right", 0.0
    )
    jitter: float = recipe_field(
        "augmentation", number(RANGES["jitter"]),
        "change brightness, contrast and saturation of a training image, each by a random factor from 1-X to 1+X", 0.0,
    )  # fmt: skip
    rand_augment: int = recipe_field(
        "augmentation", number(RANGES["rand_augment"]), "number of RandAugment operations on each training image", 0
    )
    magnitude: float = recipe_field(
        "augmentation", number(RANGES["magnitude"]), "magnitude of the RandAugment operations", 9.0
    )
    cutout: float = recipe_field(
        "augmentation", number(RANGES["cutout"]), "probability of erasing a random rectangle of a training image", 0.0
    )
    mixup: float = recipe_field(
        "augmentation", number(RANGES["mixup"]), "alpha of mixup's Beta distribution; 0 is off", 0.0
    )
    cutmix: float = recipe_field(
        "augmentation", number(RANGES["cutmix"]), "alpha of CutMix's Beta distribution; 0 is off", 0.0
    )
    mix_probability: float = recipe_field(
        "augmentation", number(RANGES["mix_probability"]), "probability of applying mixup or CutMix", 1.0
    )
    mix_switch: float = recipe_field(
        "augmentation", number(RANGES["mix_switch"]), "probability of CutMix if both mixup and CutMix are on", 0.5
    )
    mix_mode: str = recipe_field(
        "augmentation", one_of(*MIX_MODES),
        "draw mixing parameters once per batch, per pair of images, or per image (elem)", "batch",
    )  # fmt: skip

    batch_size: int = recipe_field(
        "optimisation", number(Range(2, 65536, integer=True)), "images per step", 64
    )  # a single image has no batch statistics
    sync_norm: bool = recipe_field(
        "optimisation", boolean(),
        "compute the mean and variance of batch normalisation over the images of all processes", False,
    )  # fmt: skip
    accumulate: int = recipe_field(
        "optimisation", number(RANGES["accumulate"]),
        "cut the batch of each process into N parts, computed one after the other to need less memory; batch "
        "normalisation sees one part, or with --sync-norm that of every process", 1,
    )  # fmt: skip
    deterministic_shards: int | None = recipe_field(
        "optimisation", number(RANGES["deterministic_shards"]),
        "cut the batch into N parts, a power of two, whose gradients are added in the same order whichever process "
        "computes them, so that weights are bit-identical for any number of processes", None, default_text="off",
    )  # fmt: skip
    epochs: int = recipe_field(
        "optimisation", number(Range(1, 100_000, integer=True)), "passes over the training images", 12
    )
    patience: int | None = recipe_field(
        "optimisation", number(Range(1, 100_000, integer=True)),
        "end the run after N epochs without a better validation top-1", None, default_text="train all epochs",
    )  # fmt: skip
    stages: int = recipe_field(
        "optimisation", number(Range(1, 100, integer=True)),
        "number of stages of progressive learning, all of the same length; 1 is off", 1,
    )  # fmt: skip
    first_stage: Mapping[str, int | float | str] = recipe_field(
        "optimisation", named_values(),
        f"value in the first stage of progressive learning, for {', '.join(GROWING)}; it grows evenly to its final "
        "value; may be repeated",
        {},
    )  # fmt: skip
    optimizer: str = recipe_field(
        "optimisation", one_of(*OPTIMIZERS), "optimizer; rmsprop_tf has epsilon under the root, as in TensorFlow", "sgd"
    )
    lr: float = recipe_field("optimisation", number(Range(0, 1000, above=True)), "initial learning rate", 0.05)
    schedule: str = recipe_field(
        "optimisation",
        one_of(*SCHEDULES),
        "decay of the learning rate after warm-up; cosine-epoch changes it once per epoch, step divides it by 10 after "
        "each third of the run, step-half after 1/2 and 3/4, exponential multiplies it by 0.97 every 2.4 epochs",
        "cosine",
    )
    lr_end: float = recipe_field(
        "optimisation", number(Range(0, 1)),
        "final learning rate as a fraction of --lr, for the cosine and linear schedules", 0.0,
    )  # fmt: skip
    warmup: float = recipe_field(
        "optimisation", number(Range(0, 1000)), "epochs of linear warm-up of the learning rate", 0.0
    )
    momentum: float = recipe_field("optimisation", number(RANGES["momentum"]), "momentum of SGD and RMSProp", 0.9)
    nesterov: bool = recipe_field("optimisation", boolean(), "use Nesterov momentum with SGD", False)
    betas: tuple[float, float] = recipe_field(
        "optimisation", two_numbers(RANGES["betas"]), "decay rates of Adam's and AdamW's moments", (0.9, 0.999)
    )
    alpha: float = recipe_field("optimisation", number(RANGES["alpha"]), "decay rate of RMSProp's mean square", 0.99)
    eps: float = recipe_field("optimisation", number(RANGES["eps"]), "epsilon of Adam, AdamW and RMSProp", 1e-8)
    weight_decay: float = recipe_field("optimisation", number(RANGES["weight_decay"]), "weight decay", 1e-4)
    spare_bias_and_norm: bool = recipe_field(
        "optimisation", boolean(), "exempt biases and normalisation parameters from weight decay", False
    )
    clip_norm: float | None = recipe_field(
        "optimisation", number(RANGES["clip_norm"]), "clip gradients to this global L2 norm", None,
        default_text="no clipping",
    )  # fmt: skip
    label_smoothing: float = recipe_field(
        "optimisation", number(RANGES["label_smoothing"]), "label-smoothing factor", 0.0
    )
    ema_decay: float | None = recipe_field(
        "optimisation", number(RANGES["ema_decay"]),
        "decay of an exponential moving average of the weights, which is then validated and saved as the best weights",
        None, default_text="no EMA",
    )  # fmt: skip
    ema_warmup: bool = recipe_field(
        "optimisation",
        boolean(),
        "use a smaller EMA decay in early steps, to forget initial weights sooner",
        False,
    )
    precision: str = recipe_field(
        "optimisation", one_of(*PRECISIONS), "number format of convolutions and matrix products", "float32"
    )
    compiled: bool | None = recipe_field(
        "optimisation", boolean(), "train with a compiled graph (torch: torch.compile)", None,
        default_text="with MindSpore only",
    )  # fmt: skip
    device: str = recipe_field("run", one_of(*DEVICES), "device to compute on", "cpu")
    seed: int = recipe_field(
        "run", number(Range(0, 2**31 - 1, integer=True)),
        "seed of initial weights, splits, image order, augmentation and dropout", 0,
    )  # fmt: skip
    workers: int = recipe_field(
        "run", number(Range(0, 256, integer=True)), "processes that load images; 0 loads them in the main process", 0
    )
    threads: int | None = recipe_field(
        "run", number(Range(1, MOST_THREADS, integer=True)),
        "number of threads that compute; another number changes rounding", None,
        default_text="OMP_NUM_THREADS, or else one for each core that is idle at the start",
    )  # fmt: skip
    check: str = recipe_field(
        "run", one_of(*CHECKS),
        "start: before training, decode all images that have not been checked yet, and list the unreadable ones; "
        "first-epoch: start at once, and end the run at the first unreadable image",
        "start",
    )  # fmt: skip
    checkpoint_steps: int | None = recipe_field(
        "run", number(Range(1, 10**9, integer=True)), "also save a checkpoint every N steps", None,
        default_text="after each epoch only",
    )  # fmt: skip
    checkpoint_minutes: float | None = recipe_field(
        "run", number(Range(0, 10**6, above=True)), "also save a checkpoint after X minutes without one", None,
        default_text="after each epoch only",
    )  # fmt: skip
    hang_seconds: float = recipe_field(
        "run", number(Range(5, 10**6)),
        "end a run of several processes if one makes no progress for X seconds, and for ten times its slowest batch",
        20.0,
    )  # fmt: skip
    keep: int = recipe_field(
        "run", number(Range(1, 1000, integer=True)),
        "number of latest checkpoints to keep, in addition to the best weights", 1,
    )  # fmt: skip
    logs: str | None = recipe_field(
        "run", one_of(*WRITERS), "write logs for this viewer into the run folder", None, default_text="no logs"
    )


FIELDS = {item.name: item for item in dataclasses.fields(Recipe)}


def flag_of(name: str) -> str:
    """Return the flag of a field: "--batch-size" for "batch_size"."""
    return "--option" if name == "options" else f"--{name.replace('_', '-')}"
