"""Every variant that has a name: the family's function and what the name fixes of it."""

from __future__ import annotations

import inspect
from functools import partial

from repro.errors import unknown
from repro.specs.asymmnet import asymmnet, mobilenet_v3
from repro.specs.base import Spec

CATALOGUE: dict[str, partial] = {
    # _x: width; _r: asymmrate (1 where the name does not say; 2 needs a width of at least 0.5)
    "asymmnet_large": partial(asymmnet, "large"),
    "asymmnet_large_r0": partial(asymmnet, "large", asymmrate=0),
    "asymmnet_large_r2": partial(asymmnet, "large", asymmrate=2),
    "asymmnet_large_x0_75": partial(asymmnet, "large", width=0.75),
    "asymmnet_large_x0_75_r0": partial(asymmnet, "large", width=0.75, asymmrate=0),
    "asymmnet_large_x0_75_r2": partial(asymmnet, "large", width=0.75, asymmrate=2),
    "asymmnet_large_x0_5": partial(asymmnet, "large", width=0.5),
    "asymmnet_large_x0_5_r0": partial(asymmnet, "large", width=0.5, asymmrate=0),
    "asymmnet_large_x0_5_r2": partial(asymmnet, "large", width=0.5, asymmrate=2),
    "asymmnet_large_x0_35": partial(asymmnet, "large", width=0.35),
    "asymmnet_large_x0_35_r0": partial(asymmnet, "large", width=0.35, asymmrate=0),
    "asymmnet_small": partial(asymmnet, "small"),
    "asymmnet_small_r0": partial(asymmnet, "small", asymmrate=0),
    "asymmnet_small_r2": partial(asymmnet, "small", asymmrate=2),
    "asymmnet_small_x0_75": partial(asymmnet, "small", width=0.75),
    "asymmnet_small_x0_75_r0": partial(asymmnet, "small", width=0.75, asymmrate=0),
    "asymmnet_small_x0_75_r2": partial(asymmnet, "small", width=0.75, asymmrate=2),
    "asymmnet_small_x0_5": partial(asymmnet, "small", width=0.5),
    "asymmnet_small_x0_5_r0": partial(asymmnet, "small", width=0.5, asymmrate=0),
    "asymmnet_small_x0_5_r2": partial(asymmnet, "small", width=0.5, asymmrate=2),
    "asymmnet_small_x0_35": partial(asymmnet, "small", width=0.35),
    "asymmnet_small_x0_35_r0": partial(asymmnet, "small", width=0.35, asymmrate=0),
    "mobilenet_v3_large": partial(mobilenet_v3, "large"),
    "mobilenet_v3_large_x0_75": partial(mobilenet_v3, "large", width=0.75),
    "mobilenet_v3_large_x0_5": partial(mobilenet_v3, "large", width=0.5),
    "mobilenet_v3_large_x0_35": partial(mobilenet_v3, "large", width=0.35),
    "mobilenet_v3_small": partial(mobilenet_v3, "small"),
    "mobilenet_v3_small_x0_75": partial(mobilenet_v3, "small", width=0.75),
    "mobilenet_v3_small_x0_5": partial(mobilenet_v3, "small", width=0.5),
    "mobilenet_v3_small_x0_35": partial(mobilenet_v3, "small", width=0.35),
}


def find_spec(name: str, **options: object) -> Spec:
    """The spec of a variant, with `num_classes`, `in_channels` and the family's other options replaced as given.

    Raises ReproError for an unknown name or option, with the nearest known ones.
    """
    if name not in CATALOGUE:
        raise unknown("model", name, CATALOGUE)
    build = CATALOGUE[name]
    settable = set(inspect.signature(build).parameters) - {"name"}
    for option in options:
        if option not in settable:
            raise unknown(f"option of {name}", option, settable)
    return build(**options, name=name)
