"""A convolutional classifier for (N, 3, 32, 32): residuals, squeeze and excitation, shuffled channels, pooling."""

import torch
import torch.nn.functional as F
from torch import nn


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(width)

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(x + y)


class Squeeze(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.reduce, self.expand = nn.Linear(width, width // 2), nn.Linear(width // 2, width)

    def forward(self, x):
        scale = F.silu(self.reduce(x.mean((2, 3))))
        scale = F.sigmoid(self.expand(scale))
        return x * scale[:, :, None, None]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.act = nn.Hardswish()
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.block = Residual(16)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=2, dilation=2, groups=16)
        self.depthwise_norm = nn.BatchNorm2d(16)
        self.squeeze = Squeeze(16)
        self.left, self.right = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1)
        self.average = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.hidden, self.mix, self.head = nn.Linear(16 * 4 * 4, 32), nn.Linear(32, 32), nn.Linear(32, 10)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x):
        x = self.pool(self.act(self.stem_norm(self.stem(x))))
        x = self.block(x)
        x = F.relu6(self.depthwise_norm(self.depthwise(x)))
        x = self.squeeze(x)
        x = torch.cat([self.left(x), self.right(x)], 1)
        n, c, h, w = x.shape
        x = x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        x = F.leaky_relu(self.average(x), 0.1)
        x = F.softsign(self.hidden(x.flatten(1)))
        x = torch.tanh(self.mix(self.dropout(x)))
        return self.head(x)
