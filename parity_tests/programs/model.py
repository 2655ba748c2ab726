"""Programs of parity_tests/backends/test_model.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from parity_tests.programs.common import call, random_images
from repro.errors import ReproError
from repro.interface.discovery import load_backend
from repro.weights.init import random_weights


def _native_class(backend: str) -> type:
    if backend == "torch":
        from torch.nn import Module

        return Module
    if backend == "paddle":
        from paddle.nn import Layer

        return Layer
    from mindspore.nn import Cell

    return Cell


def call_and_export(name: str) -> dict[str, Any]:
    backend = load_backend(name)
    model = backend.create_model("asymmnet_large", num_classes=16)
    small = backend.create_model("asymmnet_small", num_classes=3, in_channels=1, width=0.6, asymmrate=2)
    weights = random_weights(small.spec, 0)
    backend.load_weights(small, weights)
    exported = backend.export_weights(small)
    images = random_images((2, 1, 33, 32), 0).astype(np.float32)
    outputs = backend.forward(small, images)
    result = {
        "is_native": isinstance(model, _native_class(name)),
        "logits_shape": call(name, model, np.zeros((2, 3, 40, 33), np.float32)).shape,
        "exported_names": sorted(exported),
        "canonical_names": sorted(weights),
        "differing_weights": [key for key in weights if not np.array_equal(exported[key], weights[key])],
        "stage_names": list(outputs),
        "expected_stage_names": [*small.spec.trace().stages, "logits"],
        "same_logits_with_stages": np.array_equal(outputs["logits"], call(name, small, images)),
    }
    exported["stem.conv.weight"][:] = 7
    unchanged = np.array_equal(backend.export_weights(small)["stem.conv.weight"], weights["stem.conv.weight"])
    return result | {"export_is_a_copy": unchanged}


def _error(function: Callable[..., object], *arguments: Any, **options: Any) -> str:
    try:
        function(*arguments, **options)
    except ReproError as error:
        return str(error)
    return ""


def refuse_bad_input(name: str) -> dict[str, Any]:
    """The errors for bad weights, each after the name that it must mention, and for bad models."""
    backend = load_backend(name)
    model = backend.create_model("asymmnet_small", num_classes=3)
    before, weights = backend.export_weights(model), random_weights(model.spec, 0)
    last = list(weights)[-1]
    broken = [
        (last, {key: array for key, array in weights.items() if key != last}),
        (last, weights | {last: weights[last][:-1]}),
        ("more", weights | {"more": weights[last]}),
        (last, weights | {last: weights[last].astype(np.int64)}),
    ]
    weight_errors, changed = [], set()
    for key, arrays in broken:
        weight_errors.append((key, _error(backend.load_weights, model, arrays)))
        after = backend.export_weights(model)
        changed |= {key for key in before if not np.array_equal(before[key], after[key])}
    cases: list[tuple[str, dict[str, Any]]] = []
    for variant in ("asymmnet_large", "mobilenet_v3_small"):
        cases += [(variant + "x", {}), (variant, {"depth": 3}), (variant, {"num_classes": 0})]
    model_errors = [(case, _error(backend.create_model, case[0], **case[1])) for case in cases]
    return {"weight_errors": weight_errors, "changed_weights": sorted(changed), "model_errors": model_errors}
