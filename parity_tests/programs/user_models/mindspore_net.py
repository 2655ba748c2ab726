"""A user model in MindSpore for parity_tests/parity/test_user_models.py.

The same network has other names, another order of registration and a ReLU that runs three times in each framework.
"""

from mindspore import nn, ops


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv2d(3, 8, 3, pad_mode="pad", padding=1)
        self.c2 = nn.Conv2d(8, 8, 3, pad_mode="pad", padding=1, group=2, has_bias=True)
        self.n1, self.n2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.a, self.b = nn.Conv2d(8, 4, 1, has_bias=True), nn.Conv2d(8, 4, 1, has_bias=True)
        self.relu, self.drop = nn.ReLU(), nn.Dropout(p=0.5)
        self.d1, self.d2 = nn.Dense(8, 8), nn.Dense(8, 5)

    def construct(self, x):
        x = self.relu(self.n1(self.c1(x)))
        x = self.relu(self.n2(self.c2(x)))
        x = ops.cat([self.a(x), self.b(x)], 1).mean((2, 3))
        return self.d2(self.drop(self.relu(self.d1(x))))


build = Net
