"""A user model in PaddlePaddle for parity_tests/parity/test_user_models.py.

The same network has other names, another order of registration and a ReLU that runs three times in each framework.
"""

import paddle
from paddle import nn


class Net(nn.Layer):
    def __init__(self, epsilon=1e-5, momentum=0.9, order=(0, 1), first_activation=True):
        super().__init__()
        self.head, self.between = nn.Linear(8, 5), nn.Linear(8, 8)
        self.parts_b, self.parts_a = nn.Conv2D(8, 4, 1), nn.Conv2D(8, 4, 1)
        self.block = nn.Sequential(
            nn.Conv2D(8, 8, 3, padding=1, groups=2), nn.BatchNorm2D(8, momentum=momentum, epsilon=epsilon)
        )
        self.stem = nn.Sequential(nn.Conv2D(3, 8, 3, padding=1, bias_attr=False), nn.BatchNorm2D(8))
        self.act, self.leave_out = nn.ReLU(), nn.Dropout(0.5)
        self.order, self.first_activation = order, first_activation

    def forward(self, x):
        x = self.stem(x)
        x = self.act(x) if self.first_activation else x
        x = self.act(self.block(x))
        y = [self.parts_a(x), self.parts_b(x)]
        x = paddle.concat([y[index] for index in self.order], 1).mean([2, 3])
        return self.head(self.leave_out(self.act(self.between(x))))


build = Net


def eps():
    return Net(epsilon=1e-3)


def momentum():
    return Net(momentum=0.1)


def swapped():
    return Net(order=(1, 0))


def no_activation():
    return Net(first_activation=False)


def maps():
    return nn.Conv2D(3, 8, 3)


class Single(Net):
    def forward(self, x):
        return super().forward(x.astype("float32"))
