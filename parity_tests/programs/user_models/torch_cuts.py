"""A user model in PyTorch whose modules are cut in the usual way; paddle_cuts.py cuts them elsewhere."""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.norm, self.mix = nn.LayerNorm(6), nn.Linear(6, 6)
        self.last, self.fc = nn.BatchNorm2d(6), nn.Linear(6, 5)
        self.act, self.pool, self.mean = nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        x = self.pool(self.act(self.bn1(self.conv1(x))))
        x = self.act(self.bn2(self.conv2(x)))
        x = self.mix(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return self.fc(self.last(self.mean(x)).flatten(1))


class Inverted(nn.Module):
    """A block of 1x1 convolutions, whose maps are (N, C, H, W)."""

    def __init__(self):
        super().__init__()
        self.stem, self.up, self.act, self.down = (
            nn.Conv2d(3, 8, 3),
            nn.Conv2d(8, 16, 1),
            nn.GELU(),
            nn.Conv2d(16, 8, 1),
        )
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        return self.fc((x + self.down(self.act(self.up(x)))).mean((2, 3)))
