"""Small MindSpore models for parity_tests/parity/test_false_passes.py: a network with one part that varies."""

from mindspore import nn, ops


class Net(nn.Cell):
    """A network with a cell, and then a function, behind its convolution and normalisation."""

    def __init__(self, module=None, function=lambda net, x: x, norm=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, pad_mode="pad", padding=1, has_bias=True)
        self.norm = norm or nn.GroupNorm(2, 4)
        self.part, self.function = module or nn.Identity(), function
        self.hidden, self.fc = nn.Dense(4, 4), nn.Dense(4, 5)

    def construct(self, x):
        x = self.function(self, self.part(ops.relu(self.norm(self.conv(x)))))
        return self.fc(ops.tanh(self.hidden(x.mean((2, 3)))))


plain = Net


def dropout():
    return Net(nn.Dropout(p=0.4))


def dropout2d():
    return Net(nn.Dropout2d(p=0.4))


def functional():
    return Net(function=lambda net, x: ops.dropout(x, 0.4, net.training))


class ChannelAttention(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, pad_mode="pad", padding=1)

    def construct(self, x):
        return x * ops.sigmoid(self.conv(x.mean((2, 3)).expand_dims(1))).reshape(-1, 4, 1, 1)


def channel_attention():
    return Net(ChannelAttention())


def frozen():
    model = Net()
    for parameter in model.conv.get_parameters():
        parameter.requires_grad = False
    return model


def batch_norm(eps=1e-5):
    return Net(norm=nn.BatchNorm2d(4, eps=eps))


def small_epsilon():
    return batch_norm(1e-6)
