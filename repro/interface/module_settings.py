"""The settings of modules under the same names in every framework."""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

from repro.choices import FRAMEWORKS

Setting = float | str | None

# "biased" where a framework's own normalisation averages the biased variances of batches, which no user can set
RUNNING_VARIANCE = "running variance"
EPSILON_NAMES = ("eps", "_eps", "epsilon", "_epsilon", "variance_epsilon")
# Setting -> its attribute in the frameworks' own layers, without a leading underscore
ATTRIBUTES = {
    "negative_slope": "negative slope",
    "approximate": "tanh approximation",
    "num_groups": "number of groups",
    "ceil_mode": "ceil_mode",
    "count_include_pad": "count_include_pad",
    "align_corners": "align_corners",
    "upscale_factor": "upscale factor",
    "beta": "beta",
    "threshold": "threshold",
    "alpha": "alpha",
}
# Geometry -> its attributes in the frameworks' own layers, without a leading underscore
GEOMETRY = {
    "kernel size": ("kernel_size", "ksize"),
    "stride": ("stride",),
    "dilation": ("dilation",),
    "number of groups": ("groups", "group"),
    "output size": ("output_size", "size"),
    "scale factor": ("scale_factor",),
    "interpolation": ("mode",),
    "axis": ("dim", "axis"),
    "return type": ("return_mask", "return_indices"),
}
MAX_TEXT = 160
UNINTERESTING = re.compile(r",? *(weight_init|bias_init|dtype|data_format|format|device)=(<[^>]*>|[^,>)]*)")


class ModuleDescription(NamedTuple):
    """A module of a user model as the model's function returned it.

    type: the name of its class. training: whether it is in training mode. settings: its settings by name. geometry:
    further settings, which are comparable only where both models arrange the same operations, such as padding. text:
    the module as its framework writes it.
    """

    type: str
    training: bool
    settings: dict[str, Setting]
    geometry: dict[str, str] = {}  # noqa: RUF012
    text: str = ""


def read_settings(module: Any, special: Mapping[str, Any]) -> dict[str, Setting]:
    """The settings of a module that change what it computes and have the same meaning in every framework.

    An epsilon is read from modules of any class, since users write their own normalisations; other attributes come
    from the frameworks' own classes. special: settings that the framework names in another way.
    """
    values = vars(module)
    settings: dict[str, Any] = {"epsilon": next((values[name] for name in EPSILON_NAMES if name in values), None)}
    if type(module).__module__.partition(".")[0] in FRAMEWORKS:
        for attribute, setting in ATTRIBUTES.items():
            settings[setting] = values.get(attribute, values.get(f"_{attribute}"))
        settings["tanh approximation"] = {"none": False, "tanh": True}.get(
            settings["tanh approximation"], settings["tanh approximation"]
        )
    settings |= special
    return {name: value if isinstance(value, str) else float(value) for name, value in settings.items()
            if isinstance(value, (str, Real))}  # fmt: skip


def read_geometry(module: Any) -> dict[str, str]:
    """The kernel sizes, strides, padding and the like of a framework's own layer, in one notation."""
    values = vars(module)
    if type(module).__module__.partition(".")[0] not in FRAMEWORKS:
        return {}

    def read(names: tuple[str, ...]) -> Any:
        return next((values[key] for name in names for key in (name, f"_{name}") if values.get(key) is not None), None)

    geometry = {setting: read(attributes) for setting, attributes in GEOMETRY.items()}
    pad_mode = values.get("pad_mode")  # MindSpore's
    explicit = read(("padding",))
    geometry["padding"] = {"same": "same", "valid": 0}.get(str(pad_mode).lower(), explicit)
    geometry["padding mode"] = read(("padding_mode",))
    return {
        name: _plain(value) for name, value in geometry.items() if isinstance(value, (str, int, float, tuple, list))
    }


def _plain(value: Any) -> str:
    """A number, or several as "2" where all are equal and as "2x3" otherwise."""
    if not isinstance(value, (tuple, list)):
        return f"{value:g}" if isinstance(value, float) else str(value)
    numbers = list(map(_plain, value))
    return numbers[0] if numbers and len(set(numbers)) == 1 else "x".join(numbers)


def module_text(module: Any, *, is_leaf: bool) -> str:
    """A module as its framework writes it, in one line and without what rarely matters; a container by its type."""
    if not is_leaf:
        return type(module).__name__
    text = UNINTERESTING.sub("", " ".join(repr(module).split()))
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."
