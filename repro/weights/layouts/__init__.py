"""The layouts that weight files come in, and which of them a file's arrays fit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from repro.errors import ReproError, unknown
from repro.specs import CATALOGUE, Spec, find_spec
from repro.weights.formats import KERAS, SAFETENSORS, backends, native_names
from repro.weights.layouts import authors, keras, mindcv, paddle_vision, timm, torchvision
from repro.weights.layouts.base import Layout

AUTO, CANONICAL = "auto", "canonical"

PUBLISHED: tuple[Layout, ...] = (
    *torchvision.LAYOUTS, *timm.LAYOUTS, *authors.LAYOUTS, *paddle_vision.LAYOUTS, *mindcv.LAYOUTS, *keras.LAYOUTS,
)  # fmt: skip


def publishers() -> list[str]:
    """What `--from` and `--to` know: the canonical names, each backend's own, and the published ones."""
    return list(dict.fromkeys([CANONICAL, *backends(), *(layout.publisher for layout in PUBLISHED)]))


def layout_format(publisher: str) -> str:
    """The backend, or "keras", whose files a publisher's layouts come in. Raises ReproError for an unknown one."""
    if publisher not in publishers():
        raise unknown("layout", publisher, publishers())
    if publisher == CANONICAL:
        return SAFETENSORS
    return next((layout.format for layout in PUBLISHED if layout.publisher == publisher), publisher)


def layouts_of(spec: Spec) -> list[Layout]:
    """Every layout that has the variant: the canonical one first, then those of our own models."""
    own = [Layout(CANONICAL, "torch", {}), *(Layout(name, name, {}) for name in backends())]
    return [*own, *(layout for layout in PUBLISHED if spec.name in layout.models)]


def layout_named(publisher: str, spec: Spec) -> Layout:
    """The layout of one publisher. Raises ReproError for an unknown one and for one that lacks the variant."""
    if publisher not in publishers():
        raise unknown("layout", publisher, publishers())
    for layout in layouts_of(spec):
        if layout.publisher == publisher:
            return layout
    have = ", ".join(layout.publisher for layout in layouts_of(spec))
    raise ReproError(f"{publisher} has no {spec.name}; its layouts are {have}")


def recognise(arrays: Mapping[str, np.ndarray], spec: Spec, form: str) -> tuple[list[Layout], bool]:
    """The layouts that a file of the format `form` fits, and whether it fits them in all names and shapes.

    Those that fit call and turn every weight the same. Where none fits entirely, it is the one that knows most names,
    so that a report can tell what is amiss. Raises ReproError where two fit that mean different things, and where no
    name is known in any.
    """
    fitting: list[Layout] = []
    nearest: tuple[int, list[Layout]] = (0, [])
    for layout in layouts_of(spec):
        if layout.format != form and (form != SAFETENSORS or layout.format == KERAS):
            continue
        native = native_names(layout.format)
        shapes = layout.shapes(layout.fitted(spec, native, arrays), native)
        if shapes == {name: array.shape for name, array in arrays.items()}:
            fitting.append(layout)
        known = len(shapes.keys() & arrays.keys())
        if known > nearest[0]:
            nearest = known, [layout]
    if not fitting and not nearest[0]:
        shown = ", ".join(sorted(arrays)[:3])
        raise ReproError(f"none of the names ({shown}, ...) is of any layout of {spec.name}; is it another model?")
    if len({_meaning(layout, spec) for layout in fitting}) > 1:
        both = ", ".join(layout.publisher for layout in fitting)
        raise ReproError(f"the arrays fit several layouts of {spec.name} ({both}); say which with --from")
    return (fitting, True) if fitting else (nearest[1], False)


def identify(arrays: Mapping[str, np.ndarray], form: str, path: Path) -> str:
    """The one variant whose names and shapes the arrays of the file `path` have. Raises ReproError for none, and for
    several that differ in what they compute alone, such as in padding."""
    found = []
    for model in CATALOGUE:
        spec = find_spec(model)
        if len(spec.weights) == len(arrays):
            with suppress(ReproError):  # other names, or several layouts, of which reading will tell
                if recognise(arrays, spec, form)[1]:
                    found.append(model)
    if len(found) == 1:
        return found[0]
    which = f"its arrays fit {', '.join(found)}" if found else "its arrays fit no variant entirely"
    raise ReproError(f"{path} does not say which model it is for, and {which}; add --model NAME")


def _meaning(layout: Layout, spec: Spec) -> tuple[tuple[str, object], ...]:
    """Which array is which weight, and how it is turned."""
    native = native_names(layout.format)
    named = layout.names(spec, native)
    kinds = {name: layout.stored(name, weight).kind for name, weight in spec.weights.items()}
    return tuple((named[name], native.axes.get(kind)) for name, kind in kinds.items())
