"""A user model in PaddlePaddle for parity_tests/parity/test_own_weights.py: converted well, and with mistakes."""

import numpy as np
import paddle
from own_checkpoint import checkpoint  # type: ignore[import-not-found]
from paddle import nn

NAMES = {"norm.running_mean": "norm._mean", "norm.running_var": "norm._variance"}


class Net(nn.Layer):
    def __init__(self, change=lambda arrays: {}, bias=None, activation=nn.functional.tanh):
        super().__init__()
        self.activation = activation
        self.conv, self.norm = nn.Conv2D(3, 4, 3, bias_attr=bias), nn.BatchNorm2D(4)
        self.hidden, self.fc = nn.Linear(4, 4), nn.Linear(4, 5)
        arrays = checkpoint()
        arrays |= {f"{layer}.weight": arrays[f"{layer}.weight"].T for layer in ("hidden", "fc")}
        arrays |= change(arrays)
        own = self.state_dict()
        names = {name: NAMES.get(name, name) for name in arrays}
        dtype = paddle.get_default_dtype()  # float64 in the comparison in float64
        self.set_state_dict({names[name]: arrays[name].astype(dtype) for name in arrays if names[name] in own})

    def forward(self, x):
        return self.fc(self.activation(self.hidden(self.norm(self.conv(x)).mean([2, 3]))))


build = Net


def not_transposed():
    return Net(lambda arrays: {"hidden.weight": arrays["hidden.weight"].T})


def exchanged():
    return Net(lambda arrays: {"norm.weight": arrays["norm.bias"], "norm.bias": arrays["norm.weight"]})


def forgotten():
    return Net(lambda arrays: {"norm.running_mean": np.zeros(4, "float32"), "norm.running_var": np.ones(4, "float32")})


def half():
    return Net(lambda arrays: {"fc.weight": arrays["fc.weight"].astype("float16").astype("float32")})


def without_bias():
    return Net(bias=False)


def without_activation():
    return Net(activation=lambda x: x)
