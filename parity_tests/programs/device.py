"""Programs of parity_tests/backends/test_device.py."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from repro.data import Loader, Mixing, Transform, open_dataset
from repro.interface import TrainSettings
from repro.interface.dropout_source import SeededDropout
from repro.specs import Spec
from repro.specs.asymmnet import asymmnet
from repro.specs.efficientnet_v2 import efficientnet_v2
from repro.training.loop import predict_padded
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
    import torch

    from backends.torch import create_model, create_trainer, forward, set_dropout_source, upload

    weights = initialise(spec, 0)
    images = np.zeros((4, 3, 32, 32), np.float32)
    soft_targets = np.full((4, 4), 0.25, np.float32)
    model = create_model(spec)
    set_dropout_source(model, SeededDropout(0))
    settings = TrainSettings(
        optimizer=optimizer, precision=precision, clip_norm=1.0, ema_decay=0.9, label_smoothing=0.1, weight_decay=0.1
    )
    trainer = create_trainer(model, settings)
    is_channels_last = model.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert is_channels_last == (precision == "bfloat16"), "tensor cores compute in bfloat16"
    trainer.load_weights(weights)
    trainer.load_state({})
    for targets in (np.arange(4), soft_targets):
        _, logits = trainer.step(images, targets, 0.1)
        assert logits.shape == (4, 4)
        trainer.load_state(trainer.state())
    uploaded = Transform(image_size=32).normalise(np.zeros((4, 3, 32, 32), np.uint8), upload)
    assert trainer.step(uploaded, soft_targets, 0.1)[1].shape == (4, 4)
    assert predict_padded(trainer, uploaded[:3], 4).shape == (3, 4)
    trainer.update({name: weights[name] for name in settings.trained_shapes(spec)}, 0.1)
    assert trainer.loss(soft_targets, np.arange(4))[1].shape == trainer.predict(images).shape == (4, 4)
    assert forward(model, images)["logits"].shape == (4, 4)
    assert trainer.weights().keys() == trainer.ema_weights().keys() == weights.keys()
    tensors = [*model.parameters(), *model.buffers(), *trainer.ema.values()]
    return {tensor.device.type for tensor in tensors}


def differences_of_uploaded_batches() -> list[str]:
    """The batches that torch normalises and mixes to other bits than NumPy, and "step" if a step from one differs.

    The tensors are on a GPU if there is one, and otherwise on the CPU.
    """
    import torch

    from backends.torch import create_model, create_trainer, upload, use_device

    on_gpu = torch.cuda.is_available()
    use_device("gpu" if on_gpu else "cpu")
    dtypes: list[str] = []

    def counted_upload(array: np.ndarray) -> Any:
        dtypes.append(str(array.dtype))
        return upload(array) if on_gpu else torch.from_numpy(array)

    digits = open_dataset("digits")
    train, val = (part.select(np.arange(len(part)) < count) for part, count in ((digits.train, 40), (digits.val, 9)))
    digits = replace(digits, train=train, val=val)
    differences = []
    mixings = [Mixing(mixup=0.8, cutmix=1, mode=mode, probability=0.8) for mode in ("batch", "pair", "elem")]
    grey = Transform(image_size=8, channels=1, mean=(0.1,), std=(0.3,))
    for number, (transform, mixing) in enumerate(
        [(Transform(image_size=32, rotation=10), mixing) for mixing in (None, *mixings)] + [(grey, None)]
    ):
        dtypes.clear()
        make_loader = partial(Loader, digits, batch_size=12, seed=3, rank=1, world_size=2)
        with make_loader() as plain, make_loader(upload=counted_upload) as uploading:
            pairs = [
                *zip(plain.train(0, transform, mixing), uploading.train(0, transform, mixing), strict=True),
                *zip(plain.val(transform), uploading.val(transform), strict=True),
            ]
        assert dtypes == ["uint8", *["float32"] * 3] * len(pairs)
        for (images, targets), (tensor, same_targets) in pairs:
            assert isinstance(tensor, torch.Tensor)
            assert images.dtype == np.float32
            if tensor.cpu().numpy().tobytes() != images.tobytes() or (targets != same_targets).any():
                differences.append(f"batch of case {number}")
    spec = asymmnet("small", num_classes=10, dropout=0.0)
    with Loader(digits, batch_size=12) as plain:
        images, labels = next(iter(plain.train(0, Transform(image_size=32))))
    results = []
    for batch in (images, counted_upload(images)):
        trainer = create_trainer(create_model(spec), TrainSettings(accumulate=3))
        trainer.load_weights(initialise(spec, 0))
        logits = trainer.step(batch, labels, 0.1)[1]
        results.append(logits.tobytes() + predict_padded(trainer, batch[:5], 12).tobytes())
    return differences + (["step"] if results[0] != results[1] else [])


def devices_of_torch(optimizers: list[str]) -> dict[str, list[str]]:
    """The devices of all tensors, by case, where the default device is "meta"."""
    _use_meta_device()
    spec = efficientnet_v2("b0", num_classes=4, dropout=0.5, drop_path=0.5)
    cases = [*((optimizer, "float32") for optimizer in optimizers), ("sgd", "bfloat16")]
    return {f"{optimizer} {precision}": sorted(_train(spec, optimizer, precision)) for optimizer, precision in cases}
