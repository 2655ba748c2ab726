"""Small PyTorch models for parity_tests/parity/test_false_passes.py: a network with one part that varies.

The functions of the same name in the files of the other frameworks build the same models.
"""

import random

import numpy as np
import torch
import torchvision
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    """A network with a module, and then a function, behind its convolution and normalisation."""

    def __init__(self, module=None, function=lambda net, x: x, norm=None):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), norm or nn.GroupNorm(2, 4)
        self.part, self.function = module or nn.Identity(), function
        self.hidden, self.fc = nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        x = self.function(self, self.part(torch.relu(self.norm(self.conv(x)))))
        return self.fc(torch.tanh(self.hidden(x.mean((2, 3)))))


plain = Net


def dropout():
    return Net(nn.Dropout(0.4))


def dropout2d():
    return Net(nn.Dropout2d(0.4))


def alpha_dropout():
    return Net(nn.AlphaDropout(0.4))


def feature_alpha_dropout():
    return Net(nn.FeatureAlphaDropout(0.4))


def drop_everything():
    return Net(nn.Dropout(1.0))


def functional():
    return Net(function=lambda net, x: F.dropout(x, 0.4, net.training))


def always():
    return Net(function=lambda net, x: F.dropout(x, 0.4))


def functional2d():
    return Net(function=lambda net, x: F.dropout2d(x, 0.4, net.training))


def stochastic_depth():
    return Net(torchvision.ops.StochasticDepth(0.4, "row"))


def rrelu():
    return Net(nn.RReLU())


class RareSkip(nn.Module):
    """Skip a block for the whole batch once in a million passes, which no repetition would show."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def forward(self, x):
        return x * float(self.draw() > 1e-6)


def rare_torch():
    return Net(RareSkip(lambda: torch.rand(1).item()))


def rare_numpy():
    return Net(RareSkip(np.random.rand))


def rare_python():
    return Net(RareSkip(random.random))


class ChannelAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x):
        return x * torch.sigmoid(self.conv(x.mean((2, 3)).unsqueeze(1))).reshape(-1, 4, 1, 1)


def channel_attention():
    return Net(ChannelAttention())


class OwnDropout(nn.Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, self.training)


def subclass():
    return Net(OwnDropout(0.4))


class OwnGenerator(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return x + 0.1 * torch.randn(x.shape, generator=self.generator, dtype=x.dtype)


def own_generator():
    return Net(OwnGenerator())


class BuiltNoise(nn.Module):
    def __init__(self):
        super().__init__()
        self.noise = torch.randn(8, 8)

    def forward(self, x):
        return x + self.noise


def built_noise():
    return Net(BuiltNoise())


def frozen():
    model = Net()
    model.conv.requires_grad_(False)
    return model


def batch_norm(eps=1e-5, momentum=0.1):
    return Net(norm=nn.BatchNorm2d(4, eps=eps, momentum=momentum))


def fixed_norm():
    model = batch_norm()
    model.norm.eval()
    return model


def evaluation():
    return Net().eval()


def tied():
    model = Net()
    model.extra = nn.Linear(4, 4)
    model.extra.weight = model.hidden.weight
    model.extra.bias = model.hidden.bias
    model.function = lambda net, x: net.extra(x.movedim(1, -1)).movedim(-1, 1)
    return model


def layer_norm(eps=1e-6):
    return Net(function=lambda net, x: F.layer_norm(x, x.shape[1:], eps=eps))


def functional_batch_norm(eps=1e-5):
    def normalise(net, x):
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        return (x - mean) / (variance + eps).sqrt()

    return Net(function=normalise)


def leaky():
    return Net(nn.LeakyReLU(0.01))


def max_pool():
    return Net(nn.MaxPool2d(2))


def average_pool():
    return Net(nn.AvgPool2d(3, 2, 1, count_include_pad=False))


def gelu():
    return Net(nn.GELU())
