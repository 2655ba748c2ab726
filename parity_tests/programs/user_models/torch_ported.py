"""A user model in PyTorch for parity_tests/weights/test_mapped_porting.py; its weights are ported by a mapping file.

Kernels and linear weights are square where a wrong order of their axes would not show in their shapes.
"""

from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.Conv2d(8, 8, 3, padding=1, groups=2),
            nn.ConvTranspose2d(8, 8, 2, stride=2),
        )
        self.norm, self.hidden, self.relu, self.fc = nn.LayerNorm(8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5)

    def forward(self, x):
        x = self.norm(self.backbone(x).mean((2, 3)))
        return self.fc(self.relu(self.hidden(x)))
