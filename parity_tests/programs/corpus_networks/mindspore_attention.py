"""torch_attention ported to MindSpore."""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops


def parameter(*shape):
    return Parameter(Tensor(np.zeros(shape, np.float32)))


class Attention(nn.Cell):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Dense(width, width)
        self.key = nn.Dense(width, width)
        self.value = nn.Dense(width, width)
        self.out = nn.Dense(width, width)

    def split(self, x):
        n, t, c = x.shape
        return x.reshape(n, t, self.heads, c // self.heads).swapaxes(1, 2)

    def construct(self, x):
        q = self.split(self.query(x))
        k = self.split(self.key(x))
        v = self.split(self.value(x))
        attention = ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) * self.scale, -1)
        return self.out(ops.matmul(attention, v).swapaxes(1, 2).reshape(x.shape))


class Block(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.norm1 = nn.LayerNorm((width,), epsilon=1e-6)
        self.attention = Attention(width, 4)
        self.norm2 = nn.LayerNorm((width,), epsilon=1e-6)
        self.expand = nn.Dense(width, 2 * width)
        self.gelu = nn.GELU(approximate=False)
        self.shrink = nn.Dense(2 * width, width)
        self.gamma = parameter(width)
        self.dropout = nn.Dropout(p=0.1)

    def construct(self, x):
        x = x + self.gamma * self.attention(self.norm1(x))
        return x + self.dropout(self.shrink(self.gelu(self.expand(self.norm2(x)))))


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, stride=8, pad_mode="valid", has_bias=True)
        self.token = parameter(1, 1, 16)
        self.position = parameter(1, 17, 16)
        self.block = Block(16)
        self.gate = nn.Dense(16, 64)
        self.project = nn.Dense(32, 16)
        self.norm = nn.LayerNorm((16,), epsilon=1e-5)
        self.head = nn.Dense(32, 10)

    def construct(self, x):
        x = self.patch(x).reshape(x.shape[0], 16, -1).swapaxes(1, 2)
        x = ops.cat([self.token.broadcast_to((x.shape[0], 1, 16)), x], 1) + self.position
        x = self.block(x)
        left, right = ops.chunk(self.gate(x), 2, -1)
        x = x + self.project(ops.gelu(left, approximate="none") * ops.sigmoid(right))
        x = self.norm(x)
        return self.head(ops.cat([x[:, 0], x[:, 1:].mean(1)], 1))
