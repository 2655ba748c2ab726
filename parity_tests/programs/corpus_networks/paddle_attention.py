"""torch_attention ported to Paddle."""

import paddle
import paddle.nn.functional as F
from paddle import nn


class Attention(nn.Layer):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def split(self, x):
        n, t, c = x.shape
        return x.reshape([n, t, self.heads, c // self.heads]).transpose([0, 2, 1, 3])

    def forward(self, x):
        q = self.split(self.query(x))
        k = self.split(self.key(x))
        v = self.split(self.value(x))
        attention = F.softmax(q @ k.transpose([0, 1, 3, 2]) * self.scale, -1)
        return self.out((attention @ v).transpose([0, 2, 1, 3]).flatten(2))


class Block(nn.Layer):
    def __init__(self, width):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, epsilon=1e-6)
        self.attention = Attention(width, 4)
        self.norm2 = nn.LayerNorm(width, epsilon=1e-6)
        self.expand = nn.Linear(width, 2 * width)
        self.gelu = nn.GELU()
        self.shrink = nn.Linear(2 * width, width)
        self.gamma = self.create_parameter([width])
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        x = x + self.gamma * self.attention(self.norm1(x))
        return x + self.dropout(self.shrink(self.gelu(self.expand(self.norm2(x)))))


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2D(3, 16, 8, stride=8)
        self.token = self.create_parameter([1, 1, 16])
        self.position = self.create_parameter([1, 17, 16])
        self.block = Block(16)
        self.gate = nn.Linear(16, 64)
        self.project = nn.Linear(32, 16)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose([0, 2, 1])
        x = paddle.concat([self.token.expand([x.shape[0], -1, -1]), x], 1) + self.position
        x = self.block(x)
        left, right = self.gate(x).chunk(2, -1)
        x = x + self.project(F.gelu(left) * F.sigmoid(right))
        x = self.norm(x)
        return self.head(paddle.concat([x[:, 0], x[:, 1:].mean(1)], 1))
