"""Program of parity_tests/backends/test_device.py."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from repro.interface import TrainSettings
from repro.interface.dropout_source import SeededDropout
from repro.specs import Spec
from repro.specs.efficientnet_v2 import efficientnet_v2
from repro.weights.init import initialise


def _use_meta_device() -> None:
    """Make torch's "meta" device the default one, and give its tensors, which hold no values, zeros and ones."""
    import torch

    def numpy(tensor: Any, *, force: bool = False) -> np.ndarray:
        assert force, "tensors on a GPU must be copied to the CPU"
        return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))

    def autocast(device: str, dtype: Any, enabled: bool) -> AbstractContextManager[None]:  # meta has no mixed precision
        assert device == "meta"
        return nullcontext()

    torch.Tensor.numpy, torch.Tensor.item, torch.autocast = numpy, lambda tensor: 1.0, autocast
    torch.set_default_device("meta")


def _train(spec: Spec, optimizer: str, precision: str) -> set[str]:
    """Call every method of a trainer; the devices of its model and its EMA afterwards."""
    from backends.torch import create_model, create_trainer, forward, set_dropout_source

    weights = initialise(spec, 0)
    images = np.zeros((4, 3, 32, 32), np.float32)
    soft_targets = np.full((4, 4), 0.25, np.float32)
    model = create_model(spec)
    set_dropout_source(model, SeededDropout(0))
    settings = TrainSettings(
        optimizer=optimizer, precision=precision, clip_norm=1.0, ema_decay=0.9, label_smoothing=0.1, weight_decay=0.1
    )
    trainer = create_trainer(model, settings)
    trainer.load_weights(weights)
    trainer.load_state({})
    for targets in (np.arange(4), soft_targets):
        _, logits = trainer.step(images, targets, 0.1)
        assert logits.shape == (4, 4)
        trainer.load_state(trainer.state())
    trainer.update({name: weights[name] for name in settings.trained_shapes(spec)}, 0.1)
    assert trainer.loss(soft_targets, np.arange(4))[1].shape == trainer.predict(images).shape == (4, 4)
    assert forward(model, images)["logits"].shape == (4, 4)
    assert trainer.weights().keys() == trainer.ema_weights().keys() == weights.keys()
    tensors = [*model.parameters(), *model.buffers(), *trainer.ema.values()]
    return {tensor.device.type for tensor in tensors}


def devices_of_torch(optimizers: list[str]) -> dict[str, list[str]]:
    """The devices of all tensors, by case, where the default device is "meta"."""
    _use_meta_device()
    spec = efficientnet_v2("b0", num_classes=4, dropout=0.5, drop_path=0.5)
    cases = [*((optimizer, "float32") for optimizer in optimizers), ("sgd", "bfloat16")]
    return {f"{optimizer} {precision}": sorted(_train(spec, optimizer, precision)) for optimizer, precision in cases}
