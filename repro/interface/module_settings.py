"""The settings of modules under the same names in every framework."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

Setting = float | str | None

# "biased" where a framework's own normalisation averages the biased variances of batches; a setting of no user's
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


class ModuleDescription(NamedTuple):
    """A module of a user model as the model's function returned it.

    type: the name of its class. training: whether it is in training mode. settings: its settings by name.
    """

    type: str
    training: bool
    settings: dict[str, Setting]


def read_settings(module: Any, special: Mapping[str, Any]) -> dict[str, Setting]:
    """The settings of a module that change what it computes and have the same meaning in every framework.

    An epsilon is read from modules of any class, since users write their own normalisations; other attributes come
    from the frameworks' own classes. special: settings that the framework names in another way.
    """
    values = vars(module)
    settings: dict[str, Any] = {"epsilon": next((values[name] for name in EPSILON_NAMES if name in values), None)}
    if type(module).__module__.partition(".")[0] in ("torch", "paddle", "mindspore"):
        for attribute, setting in ATTRIBUTES.items():
            settings[setting] = values.get(attribute, values.get(f"_{attribute}"))
        settings["tanh approximation"] = {"none": False, "tanh": True}.get(
            settings["tanh approximation"], settings["tanh approximation"]
        )
    settings |= special
    return {name: value if isinstance(value, str) else float(value) for name, value in settings.items()
            if isinstance(value, (str, Real))}  # fmt: skip
