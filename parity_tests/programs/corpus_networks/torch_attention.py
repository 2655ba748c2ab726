"""A transformer for (N, 3, 32, 32): attention, two kinds of feed-forward networks, a class token."""

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def split(self, x):
        n, t, c = x.shape
        return x.reshape(n, t, self.heads, c // self.heads).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        attention = F.softmax(q @ k.transpose(-2, -1) * self.scale, -1)
        return self.out((attention @ v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps=1e-6), Attention(width, 4)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.expand, self.gelu, self.shrink = nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        self.gamma = nn.Parameter(torch.ones(width))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x):
        x = x + self.gamma * self.attention(self.norm1(x))
        return x + self.dropout(self.shrink(self.gelu(self.expand(self.norm2(x)))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 8, stride=8)
        self.token, self.position = nn.Parameter(torch.zeros(1, 1, 16)), nn.Parameter(torch.zeros(1, 17, 16))
        self.block = Block(16)
        self.gate, self.project = nn.Linear(16, 64), nn.Linear(32, 16)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(32, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        x = self.block(x)
        left, right = self.gate(x).chunk(2, -1)
        x = x + self.project(F.gelu(left) * torch.sigmoid(right))
        x = self.norm(x)
        return self.head(torch.cat([x[:, 0], x[:, 1:].mean(1)], 1))
