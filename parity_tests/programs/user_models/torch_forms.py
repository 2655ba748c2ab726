"""A user model in PyTorch for parity_tests/parity/test_forms.py: its weights have another form in each framework."""

import torch
from torch import nn


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.qkv, self.proj = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        return x + self.proj((q @ k.transpose(-2, -1) * 8**-0.5).softmax(-1) @ v)


class Net(nn.Module):
    def __init__(self, bias=False):
        super().__init__()
        self.stem, self.attention = nn.Conv2d(3, 8, 3, padding=1, bias=bias), Attention()
        self.scale = nn.Parameter(torch.ones(8, 1, 1))
        self.aux, self.fc = nn.Linear(8, 5), nn.Conv2d(8, 5, 1)

    def forward(self, x):
        x = self.stem(x) * self.scale
        y = self.attention(x.flatten(2).transpose(1, 2)).mean(1)
        logits = self.fc(y[:, :, None, None]).flatten(1)
        return (logits, self.aux(y)) if self.training else logits


build = Net


def with_bias():
    return Net(bias=True)


class Broken(Net):
    def forward(self, x):
        raise RuntimeError("cannot run")
