"""torch_cnn ported to Paddle."""

import paddle
import paddle.nn.functional as F
from paddle import nn


class Residual(nn.Layer):
    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2D(width, width, 3, padding=1, bias_attr=False)
        self.norm1 = nn.BatchNorm2D(width)
        self.conv2 = nn.Conv2D(width, width, 3, padding=1, groups=2, bias_attr=False)
        self.norm2 = nn.BatchNorm2D(width)

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(x + y)


class Squeeze(nn.Layer):
    def __init__(self, width):
        super().__init__()
        self.reduce = nn.Linear(width, width // 2)
        self.expand = nn.Linear(width // 2, width)

    def forward(self, x):
        scale = F.silu(self.reduce(x.mean([2, 3])))
        scale = F.sigmoid(self.expand(scale))
        return x * scale.unsqueeze([2, 3])


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2D(3, 16, 3, stride=2, padding=1, bias_attr=False)
        self.stem_norm = nn.BatchNorm2D(16)
        self.act = nn.Hardswish()
        self.pool = nn.MaxPool2D(3, stride=2, padding=1)
        self.block = Residual(16)
        self.depthwise = nn.Conv2D(16, 16, 3, padding=2, dilation=2, groups=16)
        self.depthwise_norm = nn.BatchNorm2D(16)
        self.squeeze = Squeeze(16)
        self.left = nn.Conv2D(16, 8, 1)
        self.right = nn.Conv2D(16, 8, 1)
        self.average = nn.AvgPool2D(3, stride=2, padding=1, exclusive=True)
        self.hidden = nn.Linear(16 * 4 * 4, 32)
        self.mix = nn.Linear(32, 32)
        self.head = nn.Linear(32, 10)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        x = self.pool(self.act(self.stem_norm(self.stem(x))))
        x = self.block(x)
        x = F.relu6(self.depthwise_norm(self.depthwise(x)))
        x = self.squeeze(x)
        x = paddle.concat([self.left(x), self.right(x)], 1)
        n, c, h, w = x.shape
        x = x.reshape([n, 2, c // 2, h, w]).transpose([0, 2, 1, 3, 4]).reshape([n, c, h, w])
        x = F.leaky_relu(self.average(x), 0.1)
        x = F.softsign(self.hidden(x.flatten(1)))
        x = paddle.tanh(self.mix(self.dropout(x)))
        return self.head(x)
