"""A user model in PyTorch for parity_tests/parity/test_own_weights.py, with the weights of a checkpoint."""

import torch
from own_checkpoint import checkpoint  # type: ignore[import-not-found]
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.hidden, self.fc = nn.Linear(4, 4), nn.Linear(4, 5)
        self.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint().items()}, strict=False)

    def forward(self, x):
        return self.fc(torch.tanh(self.hidden(self.norm(self.conv(x)).mean((2, 3)))))


build = Net
