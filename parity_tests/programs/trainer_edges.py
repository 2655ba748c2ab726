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


def mindspore_refuses_its_own_dropout() -> str:
    """The error for a user model whose dropout draws by itself in a compiled step."""
    from mindspore import nn

    from backends.mindspore import set_dropout_source, wrap_user_model
    from backends.mindspore.dropout import draw_dropout_masks

    model = wrap_user_model(nn.SequentialCell(nn.Conv2d(3, 3, 1), nn.Dropout(p=0.5)), "theirs")
    set_dropout_source(model, lambda name, shape: np.zeros(shape, np.float32))
    try:
        draw_dropout_masks(model, np.zeros((2, 3, 8, 8), np.float32))
    except ReproError as error:
        return str(error)
    return ""
