"""torch_resize ported to Paddle."""

import paddle
import paddle.nn.functional as F
from paddle import nn


class Net(nn.Layer):
    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2D(3, 8, 5, stride=2, padding=2)
        self.enter_norm = nn.GroupNorm(4, 8)
        self.down = nn.Conv2D(8, 16, 3, stride=2, padding=1)
        self.down_norm = nn.GroupNorm(16, 16)
        self.prelu = nn.PReLU(16)
        self.deep = nn.Conv2D(16, 16, 3, padding=1, padding_mode="replicate")
        self.softplus = nn.Softplus()
        self.fuse = nn.Conv2D(24, 16, 1, bias_attr=False)
        self.fuse_norm = nn.BatchNorm2D(16, epsilon=1e-3, momentum=0.99)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.squash = nn.Conv2D(4, 4, 1)
        self.mask = nn.Conv2D(4, 1, 1)
        self.head = nn.Linear(16, 6)

    def forward(self, x):
        fine = F.relu(self.enter_norm(self.enter(x)))
        coarse = self.prelu(self.down_norm(self.down(fine)))
        coarse = F.mish(self.deep(coarse)) + coarse
        wide = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
        joined = self.softplus(self.fuse_norm(self.fuse(paddle.concat([fine, wide], 1))))
        weights = F.softmax(joined.mean([2, 3]), 1)
        logits = self.head(joined.max([2, 3]) * weights)
        mask = self.squash(F.pixel_shuffle(F.hardtanh(joined), 2))
        small = F.interpolate(mask, size=[12, 20], mode="bilinear", align_corners=False)
        small = self.up(F.normalize(small, axis=1))
        return logits, F.sigmoid(self.mask(F.adaptive_avg_pool2d(small, 9)))
