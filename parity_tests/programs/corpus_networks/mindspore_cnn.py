"""torch_cnn ported to MindSpore."""

from mindspore import nn, ops


class Residual(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, pad_mode="pad", padding=1)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, pad_mode="pad", padding=1, group=2)
        self.norm2 = nn.BatchNorm2d(width)

    def construct(self, x):
        y = ops.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return ops.relu(x + y)


class Squeeze(nn.Cell):
    def __init__(self, width):
        super().__init__()
        self.reduce = nn.Dense(width, width // 2)
        self.expand = nn.Dense(width // 2, width)

    def construct(self, x):
        scale = ops.silu(self.reduce(x.mean((2, 3))))
        scale = ops.sigmoid(self.expand(scale))
        return x * scale.reshape((*scale.shape, 1, 1))


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, pad_mode="pad", padding=1)
        self.stem_norm = nn.BatchNorm2d(16)
        self.act = nn.HSwish()
        self.pool = nn.MaxPool2d(3, stride=2, pad_mode="pad", padding=1)
        self.block = Residual(16)
        self.depthwise = nn.Conv2d(16, 16, 3, pad_mode="pad", padding=2, dilation=2, group=16, has_bias=True)
        self.depthwise_norm = nn.BatchNorm2d(16)
        self.squeeze = Squeeze(16)
        self.left = nn.Conv2d(16, 8, 1, has_bias=True)
        self.right = nn.Conv2d(16, 8, 1, has_bias=True)
        self.average = nn.AvgPool2d(3, stride=2, pad_mode="pad", padding=1, count_include_pad=False)
        self.hidden = nn.Dense(16 * 4 * 4, 32)
        self.mix = nn.Dense(32, 32)
        self.head = nn.Dense(32, 10)
        self.dropout = nn.Dropout(p=0.2)

    def construct(self, x):
        x = self.pool(self.act(self.stem_norm(self.stem(x))))
        x = self.block(x)
        x = ops.relu6(self.depthwise_norm(self.depthwise(x)))
        x = self.squeeze(x)
        x = ops.cat([self.left(x), self.right(x)], 1)
        n, c, h, w = x.shape
        x = x.reshape(n, 2, c // 2, h, w).swapaxes(1, 2).reshape(n, c, h, w)
        x = ops.leaky_relu(self.average(x), 0.1)
        x = ops.softsign(self.hidden(x.reshape(n, -1)))
        x = ops.tanh(self.mix(self.dropout(x)))
        return self.head(x)
