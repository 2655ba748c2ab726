"""Models that are not ours, as text: a module for each framework."""

# The same network thrice, with other names, another order of registration, and a ReLU that runs three times
TORCH = """
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
def dictionary():
    model = Net()
    model.register_forward_hook(lambda m, a, y: {"logits": y})
    return model
def maps(): return nn.Conv2d(3, 8, 3)
def raising(): raise KeyError("lost")
number = 3
def no_model(): return [1]
def wide():
    model = Net()
    model.fc = nn.Linear(8, 6)
    return model
"""
PADDLE = """
import paddle
from paddle import nn

class Net(nn.Layer):
    def __init__(self, epsilon=1e-5, momentum=0.9, parts=(0, 1), first=True):
        super().__init__()
        self.head, self.between = nn.Linear(8, 5), nn.Linear(8, 8)
        self.parts_b, self.parts_a = nn.Conv2D(8, 4, 1), nn.Conv2D(8, 4, 1)
        self.block = nn.Sequential(
            nn.Conv2D(8, 8, 3, padding=1, groups=2), nn.BatchNorm2D(8, momentum=momentum, epsilon=epsilon))
        self.stem = nn.Sequential(nn.Conv2D(3, 8, 3, padding=1, bias_attr=False), nn.BatchNorm2D(8))
        self.act, self.leave_out = nn.ReLU(), nn.Dropout(0.5)
        self.parts, self.first = parts, first

    def forward(self, x):
        x = self.stem(x)
        x = self.act(x) if self.first else x
        x = self.act(self.block(x))
        y = [self.parts_a(x), self.parts_b(x)]
        x = paddle.concat([y[part] for part in self.parts], 1).mean([2, 3])
        return self.head(self.leave_out(self.act(self.between(x))))

build = Net
def eps(): return Net(epsilon=1e-3)
def momentum(): return Net(momentum=0.1)
def swapped(): return Net(parts=(1, 0))
def no_activation(): return Net(first=False)
def maps(): return nn.Conv2D(3, 8, 3)
class Single(Net):
    def forward(self, x): return super().forward(x.astype("float32"))
"""
MINDSPORE = """
import mindspore
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
"""
SOURCES = {"torch": TORCH, "paddle": PADDLE, "mindspore": MINDSPORE}

# of the packages
PACKAGES = """
def torch():
    import torchvision
    return torchvision.models.resnet18(num_classes=10)
def paddle():
    import paddle
    return paddle.vision.models.resnet18(num_classes=10)
def mindspore():
    import mindcv
    return mindcv.create_model("resnet18", num_classes=10)
"""
