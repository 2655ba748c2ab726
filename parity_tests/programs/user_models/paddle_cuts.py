"""The model of torch_cuts.py in Paddle with modules that are cut elsewhere, and two mistakes behind such cuts."""

import paddle
from paddle import nn


class Net(nn.Layer):
    """Activations inside normalisations, a padded input and a cropped map, tokens (N, L, C), a flat normalisation."""

    activation = "relu"

    def __init__(self):
        super().__init__()
        self.a, self.a_norm = nn.Conv2D(3, 8, 3), nn.BatchNorm(8, act="relu")
        self.b, self.b_norm = nn.Conv2D(8, 6, 3, padding=2), nn.BatchNorm(6, act=self.activation)
        self.norm, self.mix = nn.LayerNorm(6, epsilon=1e-5), nn.Linear(6, 6)
        self.last, self.head = nn.BatchNorm1D(6), nn.Linear(6, 5)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.a_norm(self.a(nn.functional.pad(x, [1, 1, 1, 1]))), 2)
        x = self.b_norm(self.b(x)[:, :, 1:-1, 1:-1])
        x = self.mix(self.norm(x.flatten(2).transpose([0, 2, 1])))
        return self.head(self.last(x.mean(1)))


class OtherActivation(Net):
    activation = "sigmoid"


class Unnormalised(Net):
    def forward(self, x):
        x = nn.functional.max_pool2d(self.a_norm(self.a(nn.functional.pad(x, [1, 1, 1, 1]))), 2)
        x = self.b_norm(self.b(x)[:, :, 1:-1, 1:-1])
        x = self.mix(self.norm(x.flatten(2).transpose([0, 2, 1])))
        return self.head(self.last(paddle.nn.functional.relu(x.mean(1))))


class Inverted(nn.Layer):
    """The block of torch_cuts.py with linear layers, whose maps are (N, H, W, C)."""

    approximate = False

    def __init__(self):
        super().__init__()
        self.stem, self.up, self.down = nn.Conv2D(3, 8, 3), nn.Linear(8, 16), nn.Linear(16, 8)
        self.act, self.fc = nn.GELU(approximate=self.approximate), nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.down(self.act(self.up(x.transpose([0, 2, 3, 1])))).transpose([0, 3, 1, 2])
        return self.fc((x + y).mean([2, 3]))


class Approximate(Inverted):
    approximate = True
