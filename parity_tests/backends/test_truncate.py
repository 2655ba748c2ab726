"""Weights cut to a few numbers, on which optimizers are compared."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest

from repro.specs import STATISTICS, find_spec
from repro.weights.init import random_weights
from repro.weights.strict import check_weights
from repro.weights.truncate import corner, truncated_spec


@pytest.mark.parametrize("name", ["asymmnet_large", "vgg16_bn", "rdnet_tiny"])
@pytest.mark.parametrize("most", [1, 100, 4096])
def test_thinned(name: str, most: int) -> None:
    spec = find_spec(name)
    thin = truncated_spec(spec, most)
    assert list(thin.weights) == list(spec.weights)
    for weight, short in zip(spec.weights.values(), thin.weights.values(), strict=True):
        assert (short.kind, short.groups, len(short.shape)) == (weight.kind, weight.groups, len(weight.shape))
        assert all(0 < few <= side for few, side in zip(short.shape, weight.shape, strict=True))
        if weight.kind in STATISTICS or prod(weight.shape) <= most:
            assert short.shape == weight.shape
        else:
            assert most / 4 < prod(short.shape) <= most


def test_cut_is_a_corner_and_copies_nothing() -> None:
    array = np.arange(12).reshape(3, 4)
    assert corner(array, (2, 3)).tolist() == [[0, 1, 2], [4, 5, 6]]
    assert np.shares_memory(corner(array, (2, 3)), array)
    assert corner(np.array(5.0), ()) == 5


def test_a_thin_model_is_updated_like_the_whole(backend: str, run_in: Callable[[str, str], str]) -> None:
    run_in(backend, f"""
import numpy as np
from backends.{backend} import create_model, create_trainer, load_weights, truncate
from repro.interface import TrainSettings
from repro.specs import find_spec
from repro.weights.init import random_weights
from repro.weights.truncate import corner, truncated_spec
spec = find_spec("asymmnet_small", num_classes=7, width=0.35)
models = [create_model(spec), create_model(spec)]
few = truncated_spec(spec, 500)
truncate(models[1], few)
assert models[1].spec is few
weights = random_weights(spec, 0)
for options in (dict(optimizer="adamw", spare_bias_and_norm=True), dict(nesterov=True, ema_decay=0.9)):
    found = []
    for model in models:
        load_weights(model, {{n: corner(weights[n], w.shape) for n, w in model.spec.weights.items()}})
        trainer = create_trainer(model, TrainSettings(weight_decay=0.1, compiled=False, **options))
        rng = np.random.default_rng(1)
        for step in range(2):
            shapes = trainer.settings.trained_shapes(spec).items()
            gradients = {{n: rng.standard_normal(shape, np.float32) for n, shape in shapes}}
            trainer.update({{n: corner(g, model.spec.weights[n].shape) for n, g in gradients.items()}}, 0.1)
        found.append([trainer.weights(), trainer.ema_weights(), trainer.state()])
    for whole, short in zip(*found):
        assert set(whole) == set(short)
        for key, array in short.items():
            assert array.dtype == whole[key].dtype
            np.testing.assert_allclose(array, corner(whole[key], array.shape), rtol=1e-6, atol=1e-7, err_msg=key)
""")  # fmt: skip


def test_what_was_cut_fits_what_is_thin() -> None:
    spec = find_spec("asymmnet_small")
    thin = truncated_spec(spec, 10)
    weights = random_weights(spec, 0)
    check_weights({name: corner(weights[name], weight.shape) for name, weight in thin.weights.items()}, thin)
