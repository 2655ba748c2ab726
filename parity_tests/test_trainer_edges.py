"""What a trainer meets with models that are not ours, and with numbers that a file claims."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[[str, str], str]


def test_paddles_own_rmsprop_and_powers(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """A weight that nothing depends on has no gradient, and stays; a claimed number of steps costs no memory."""
    require_backend("paddle")
    run_in("paddle", """
import numpy as np
import paddle
from backends.paddle.optimizers import create_optimizer
from backends.paddle.trainer import power
from repro.interface import TrainSettings
used, unused = paddle.create_parameter([2], "float32"), paddle.create_parameter([2], "float32")
before = used.numpy(), unused.numpy()
optimizer = create_optimizer([used, unused], TrainSettings(optimizer="rmsprop", weight_decay=0.1), "two")
optimizer.set_lr(0.1)
(used * used + used).sum().backward()
optimizer.step()
assert (used.numpy() != before[0]).all() and (unused.numpy() == before[1]).all()
assert power(0.999, 1000) == np.cumprod(np.full(1000, 0.999, np.float32))[-1]
assert 0 <= power(0.999, 10**13) < 1e-40
""")  # fmt: skip


def test_a_dropout_of_mindspores_own_is_refused_where_steps_are_compiled(
    run_in: Run, require_backend: Callable[[str], None]
) -> None:
    require_backend("mindspore")
    run_in("mindspore", """
import numpy as np
from mindspore import nn
from backends.mindspore import adopt, set_dropout_source
from backends.mindspore.model import draw_drops
from repro.errors import ReproError
model = adopt(nn.SequentialCell(nn.Conv2d(3, 3, 1), nn.Dropout(p=0.5)), "theirs")
set_dropout_source(model, lambda name, shape: np.zeros(shape, np.float32))
try:
    draw_drops(model, np.zeros((2, 3, 8, 8), np.float32))
except ReproError as error:
    assert "is nn.Dropout, which draws by itself in a compiled step" in str(error), error
else:
    raise AssertionError("nothing was said")
""")  # fmt: skip
