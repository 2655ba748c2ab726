"""Programs of parity_tests/backends/test_trainer_edges.py."""

from __future__ import annotations

import numpy as np

from repro.errors import ReproError
from repro.interface import TrainSettings


def paddle_rmsprop_skips_unused_weights() -> None:
    import paddle

    from backends.paddle.optimizers import create_optimizer

    used, unused = paddle.create_parameter([2], "float32"), paddle.create_parameter([2], "float32")
    before = used.numpy(), unused.numpy()
    optimizer = create_optimizer([used, unused], TrainSettings(optimizer="rmsprop", weight_decay=0.1), "two")
    optimizer.set_lr(0.1)
    (used * used + used).sum().backward()
    optimizer.step()
    assert (used.numpy() != before[0]).all()
    assert (unused.numpy() == before[1]).all()


def paddle_power_costs_no_memory() -> None:
    from backends.paddle.trainer import beta_power

    assert beta_power(0.999, 1000) == np.cumprod(np.full(1000, 0.999, np.float32))[-1]
    assert 0 <= beta_power(0.999, 10**13) < 1e-40


def mindspore_refuses_dropouts() -> list[str]:
    """The errors for user models whose dropout draws by itself in a compiled step, and runs twice in one."""
    from mindspore import nn

    from backends.mindspore import set_dropout_source, wrap_user_model
    from backends.mindspore.dropout import draw_dropout_masks
    from backends.mindspore.layers import Dropout

    errors = []
    dropout = Dropout(0.5)
    for layers in ([nn.Conv2d(3, 3, 1), nn.Dropout(p=0.5)], [dropout, nn.Conv2d(3, 3, 1), dropout]):
        model = wrap_user_model(nn.SequentialCell(layers), "theirs")
        set_dropout_source(model, lambda name, shape: np.zeros(shape, np.float32))
        try:
            draw_dropout_masks(model, np.zeros((2, 3, 8, 8), np.float32))
        except ReproError as error:
            errors.append(str(error))
    return errors


def torch_compiles() -> list[float]:
    """The relative differences of the logits of two compiled steps with dropout from those of eager steps."""
    from backends.torch import create_model, create_trainer, set_dropout_source
    from repro.interface.dropout_source import SeededDropout
    from repro.weights.init import random_weights

    logits: list[list[np.ndarray]] = []
    images = np.random.default_rng(0).standard_normal((16, 3, 64, 64), np.float32)
    for compiled in (None, True):
        model = create_model("shufflenet_v1_g1_x0_25", num_classes=10, dropout=0.5)
        set_dropout_source(model, SeededDropout(0))
        trainer = create_trainer(model, TrainSettings(compiled=compiled))
        trainer.load_weights(random_weights(model.spec, 0))
        logits.append([trainer.step(images, np.arange(16) % 10, 1e-3)[1] for _ in range(2)])
    return [float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(*logits, strict=True)]


def error_of_compiled_step(backend: str) -> str:
    """The error of a compiled step, or of its trainer."""
    from repro.interface.discovery import load_backend

    package = load_backend(backend)
    try:
        trainer = package.create_trainer(package.create_model("shufflenet_v1_g1_x0_25"), TrainSettings(compiled=True))
        trainer.step(np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, np.int64), 0.0)
    except ReproError as error:
        return str(error)
    return ""
