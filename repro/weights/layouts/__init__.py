"""The layouts of weight files, and how the layout and the model of a file are recognised by its arrays."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from repro.errors import ReproError, unknown
from repro.specs import CATALOGUE, Spec, find_spec
from repro.weights.formats import KERAS, SAFETENSORS, backends, native_names
from repro.weights.layouts import (
    authors,
    keras,
    mindcv,
    paddle_vision,
    paddleclas,
    pytorchcv,
    timm,
    torchvision,
    transformers,
)
from repro.weights.layouts.base import Layout

AUTO, CANONICAL = "auto", "canonical"

PUBLISHED: tuple[Layout, ...] = (
    *torchvision.LAYOUTS, *timm.LAYOUTS, *pytorchcv.LAYOUTS, *transformers.LAYOUTS, *authors.LAYOUTS,
    *paddle_vision.LAYOUTS, *paddleclas.LAYOUTS, *mindcv.LAYOUTS, *keras.LAYOUTS,
)  # fmt: skip


def publishers() -> list[str]:
    """Return the choices of `--from` and `--to`: canonical, each backend, and everybody who publishes weights."""
    return list(dict.fromkeys([CANONICAL, *backends(), *(layout.publisher for layout in PUBLISHED)]))


def layout_format(publisher: str) -> str:
    """Return the format of a publisher's files: a backend, "keras" or "safetensors".

    Raises ReproError for an unknown publisher.
    """
    if publisher not in publishers():
        raise unknown("layout", publisher, publishers())
    if publisher == CANONICAL:
        return SAFETENSORS
    return next((layout.format for layout in PUBLISHED if layout.publisher == publisher), publisher)


def layouts_for(spec: Spec) -> list[Layout]:
    """Return every layout that has the variant: canonical, those of the backends, then the published ones."""
    unpublished = [Layout(CANONICAL, "torch", {}), *(Layout(name, name, {}) for name in backends())]
    return [*unpublished, *(layout for layout in PUBLISHED if spec.name in layout.models)]


def layout_named(publisher: str, spec: Spec) -> Layout:
    """Return the layout of a publisher. Raises ReproError for an unknown one and for one that lacks the variant."""
    if publisher not in publishers():
        raise unknown("layout", publisher, publishers())
    for layout in layouts_for(spec):
        if layout.publisher == publisher:
            return layout
    available = ", ".join(layout.publisher for layout in layouts_for(spec))
    raise ReproError(f"{publisher} has no {spec.name}; its layouts are {available}")


def recognise_layout(arrays: Mapping[str, np.ndarray], spec: Spec, form: str) -> tuple[list[Layout], bool]:
    """Return the layouts that have all names and shapes of the arrays of a file, and True.

    These layouts are equivalent: they name and transpose every weight alike. A file without any weight of the head fits
    as well, and so does a classifier that Layout.with_classifier renames. Where no layout fits entirely, return the one
    that shares the most names, so that a message can list the differences, and False.
    form: the format of the file. Raises ReproError where layouts fit that are not equivalent, and where no layout has
    any of the names.
    """
    fitting: list[Layout] = []
    nearest: list[Layout] = []
    most_shared = 0
    for layout in layouts_for(spec):
        if layout.format != form and (form != SAFETENSORS or layout.format == KERAS):
            continue
        native = native_names(layout.format)
        named = layout.with_classifier(arrays, spec, native)
        fitted = layout.fitted_spec(spec, native, named)
        shapes, names = layout.shapes(fitted, native), layout.names(fitted, native)
        if not any(names[name] in named for name in fitted.head_weights):
            shapes = {name: shapes[name] for name in shapes.keys() - {names[name] for name in fitted.head_weights}}
        if shapes == {name: array.shape for name, array in named.items()}:
            fitting.append(layout)
        shared = len(shapes.keys() & arrays.keys())
        if shared > most_shared:
            most_shared, nearest = shared, [layout]
    if not fitting and not nearest:
        shown = ", ".join(sorted(arrays)[:3])
        raise ReproError(f"no layout of {spec.name} has any of the names ({shown}, ...); is it another model?")
    if len({_correspondence(layout, spec) for layout in fitting}) > 1:
        candidates = ", ".join(layout.publisher for layout in fitting)
        raise ReproError(f"the arrays fit several layouts of {spec.name} ({candidates}); choose one with --from")
    return (fitting, True) if fitting else (nearest, False)


def identify_model(arrays: Mapping[str, np.ndarray], form: str, path: Path) -> str:
    """Return the variant whose names and shapes the arrays of the file `path` have.

    Raises ReproError where there is none, and where there are several, which differ only in what they compute, such as
    the padding.
    """
    models = []
    for model in CATALOGUE:
        spec = find_spec(model)
        if len(arrays) in (len(spec.weights), len(spec.weights) - len(spec.head_weights)):
            with suppress(ReproError):  # no shared names, or several layouts, which read_checkpoint reports
                if recognise_layout(arrays, spec, form)[1]:
                    models.append(model)
    if len(models) == 1:
        return models[0]
    reason = f"its arrays fit {', '.join(models)}" if models else "its arrays fit no variant entirely"
    raise ReproError(f"{path} does not name its model, and {reason}; add --model NAME")


def _correspondence(layout: Layout, spec: Spec) -> tuple[tuple[str, object], ...]:
    """Return the name in the file and the order of axes of each weight of the spec."""
    native = native_names(layout.format)
    names = layout.names(spec, native)
    stored = {name: layout.stored_weight(name, weight) for name, weight in spec.weights.items()}
    return tuple((names[name], native.order(weight)) for name, weight in stored.items())
