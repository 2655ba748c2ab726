"""Small Paddle models for parity_tests/parity/test_false_passes.py: a network with one part that varies."""

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F


class Net(nn.Layer):
    """A network with a layer, and then a function, behind its convolution and normalisation."""

    def __init__(self, module=None, function=lambda net, x: x, norm=None, padding=1):
        super().__init__()
        self.conv, self.norm = nn.Conv2D(3, 4, 3, padding=padding), norm or nn.GroupNorm(2, 4)
        self.part, self.function = module or nn.Identity(), function
        self.hidden, self.fc = nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        x = self.function(self, self.part(F.relu(self.norm(self.conv(x)))))
        return self.fc(F.tanh(self.hidden(x.mean([2, 3]))))


plain = Net


def dropout(mode="upscale_in_train", axis=None):
    return Net(nn.Dropout(0.4, mode=mode, axis=axis))


def dropout2d():
    return Net(nn.Dropout2D(0.4))


def dropout_by_axes():
    return dropout(axis=[0, 1])


def alpha_dropout():
    return Net(nn.AlphaDropout(0.4))


def feature_alpha_dropout():
    return Net(nn.FeatureAlphaDropout(0.4))


def drop_everything():
    return Net(nn.Dropout(1.0))


def downscale():
    return dropout("downscale_in_infer")


def other_rate():
    return Net(nn.Dropout(0.3))


def functional():
    return Net(function=lambda net, x: F.dropout(x, 0.4, training=net.training))


def functional2d():
    return Net(function=lambda net, x: F.dropout2d(x, 0.4, training=net.training))


def rare_paddle():
    return Net(function=lambda net, x: x * float(paddle.rand([1]).item() > 1e-6))


def rare_numpy():
    return Net(function=lambda net, x: x * float(np.random.rand() > 1e-6))


def padding():
    return Net(padding=2)


def frozen(slow=False):
    model = Net()
    if slow:  # a learning rate of 0 is Paddle's other way
        model.conv = nn.Conv2D(3, 4, 3, padding=1, weight_attr=paddle.ParamAttr(learning_rate=0.0))
    model.conv.weight.stop_gradient = not slow
    model.conv.bias.stop_gradient = True
    return model


def frozen_by_rate():
    return frozen(slow=True)


def batch_norm(eps=1e-5, momentum=0.9):
    return Net(norm=nn.BatchNorm2D(4, epsilon=eps, momentum=momentum))


class WithoutGradients(Net):
    def forward(self, x):
        with paddle.no_grad():
            x = F.relu(self.norm(self.conv(x)))
        return self.fc(F.tanh(self.hidden(x.mean([2, 3]))))


def without_gradients():
    return WithoutGradients(norm=nn.BatchNorm2D(4))


def small_epsilon():
    return batch_norm(1e-6)


def other_momentum():
    return batch_norm(momentum=0.1)


def fixed_norm():
    model = batch_norm()
    model.norm.eval()
    return model


def evaluation():
    model = Net()
    model.eval()
    return model


def tied():
    model = Net()
    model.extra = nn.Linear(4, 4)
    model.extra.weight, model.extra.bias = model.hidden.weight, model.hidden.bias
    model.function = lambda net, x: net.extra(x.transpose([0, 2, 3, 1])).transpose([0, 3, 1, 2])
    return model


def untied():
    model = tied()
    model.extra = nn.Linear(4, 4)
    return model


def layer_norm(eps=1e-6):
    return Net(function=lambda net, x: F.layer_norm(x, x.shape[1:], epsilon=eps))


def small_layer_norm():
    return layer_norm(1e-7)


def functional_batch_norm(eps=1e-5):
    def normalise(net, x):
        mean, variance = x.mean([0, 2, 3], keepdim=True), x.var([0, 2, 3], keepdim=True, unbiased=False)
        return (x - mean) / (variance + eps).sqrt()

    return Net(function=normalise)


def small_functional_batch_norm():
    return functional_batch_norm(1e-6)


def leaky():
    return Net(nn.LeakyReLU(0.01))


def other_slope():
    return Net(nn.LeakyReLU(0.0101))


def max_pool():
    return Net(nn.MaxPool2D(2))


def ceil_mode():
    return Net(nn.MaxPool2D(2, ceil_mode=True))


def average_pool():
    return Net(nn.AvgPool2D(3, 2, 1))


def border_counts():
    return Net(nn.AvgPool2D(3, 2, 1, exclusive=False))


def gelu():
    return Net(nn.GELU())


def tanh_gelu():
    return Net(nn.GELU(approximate=True))
