"""A user model in PyTorch for parity_tests/parity/test_user_models.py.

The same network has other names, another order of registration and a ReLU that runs three times in each framework.
"""

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.BatchNorm2d(8)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
        self.relu, self.drop = nn.ReLU(), nn.Dropout(0.5, inplace=True)
        self.hidden, self.fc = nn.Linear(8, 8), nn.Linear(8, 5)
        self.register_buffer("shift", torch.zeros(3, 1, 1))

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x - self.shift)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = torch.cat([self.left(x), self.right(x)], 1).mean((2, 3))
        return self.fc(self.drop(self.relu(self.hidden(x))))


build = Net


def with_extras():
    model = Net()
    model.register_forward_hook(lambda m, a, y: (y, y))
    return model


def text():
    model = Net()
    model.register_forward_hook(lambda m, a, y: "logits")
    return model


def maps():
    return nn.Conv2d(3, 8, 3)


def raising():
    raise KeyError("lost")


number = 3


def no_model():
    return [1]


def wide():
    model = Net()
    model.fc = nn.Linear(8, 6)
    return model
