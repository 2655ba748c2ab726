"""A network with two outputs for (N, 3, 32, 32): classes, and a mask of the input's size after resizing and joining."""

import torch
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.enter_norm = nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.GroupNorm(4, 8)
        self.down, self.down_norm = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.GroupNorm(16, 16)
        self.prelu = nn.PReLU(16)
        self.deep = nn.Conv2d(16, 16, 3, padding=1, padding_mode="replicate")
        self.softplus = nn.Softplus()
        self.fuse, self.fuse_norm = nn.Conv2d(24, 16, 1, bias=False), nn.BatchNorm2d(16, eps=1e-3, momentum=0.01)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.squash, self.mask = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 1, 1)
        self.head = nn.Linear(16, 6)

    def forward(self, x):
        fine = F.relu(self.enter_norm(self.enter(x)))
        coarse = self.prelu(self.down_norm(self.down(fine)))
        coarse = F.mish(self.deep(coarse)) + coarse
        wide = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        joined = self.softplus(self.fuse_norm(self.fuse(torch.cat([fine, wide], 1))))
        weights = F.softmax(joined.mean((2, 3)), 1)
        logits = self.head(joined.amax((2, 3)) * weights)
        mask = self.squash(F.pixel_shuffle(F.hardtanh(joined), 2))
        small = F.interpolate(mask, size=(12, 20), mode="bilinear", align_corners=False)
        small = self.up(F.normalize(small, dim=1))
        return logits, torch.sigmoid(self.mask(F.adaptive_avg_pool2d(small, 9)))
