"""A user model in MindSpore for parity_tests/parity/test_forms.py: see torch_forms.py."""

import mindspore
from mindspore import nn, ops


class Attention(nn.Cell):
    def __init__(self):
        super().__init__()
        self.norm, self.kv, self.q, self.proj = (
            nn.LayerNorm([8], epsilon=1e-5),
            nn.Dense(8, 16),
            nn.Dense(8, 8),
            nn.Dense(8, 8),
        )

    def construct(self, x):
        y = self.norm(x)
        q, (k, v) = self.q(y), ops.split(self.kv(y), 8, -1)
        return x + self.proj(ops.softmax(ops.matmul(q, k.transpose(0, 2, 1)) * 8**-0.5, -1) @ v)


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, pad_mode="pad", has_bias=False)
        self.attention, self.fc = Attention(), nn.Dense(8, 5)
        self.scale = mindspore.Parameter(ops.ones((1, 8, 1, 1)), name="scale")

    def construct(self, x):
        x = self.stem(x) * self.scale
        return self.fc(self.attention(x.flatten(start_dim=2).transpose(0, 2, 1)).mean(1))


build = Net


def other():
    return nn.SequentialCell(nn.Flatten(), nn.Dense(90, 5))


class OnlyEvaluates(Net):
    def construct(self, x):
        if self.training:
            raise ValueError("not in training")
        return super().construct(x)


only_evaluates = OnlyEvaluates


class WithTables(Net):
    """Keeps an order and a mask as parameters that are not trained, where PyTorch has buffers."""

    def __init__(self):
        super().__init__()
        self.order = mindspore.Parameter(ops.arange(8), name="order", requires_grad=False)
        self.mask = mindspore.Parameter(ops.ones((8, 30)), name="mask", requires_grad=False)

    def construct(self, x):
        x = (self.stem(x) * self.scale).flatten(start_dim=2)
        return self.fc(self.attention((x[:, self.order] * self.mask).transpose(0, 2, 1)).mean(1))


with_tables = WithTables
