"""torch_resize ported to MindSpore."""

from mindspore import nn, ops


class Net(nn.Cell):
    def __init__(self):
        super().__init__()
        self.enter = nn.Conv2d(3, 8, 5, stride=2, pad_mode="pad", padding=2, has_bias=True)
        self.enter_norm = nn.GroupNorm(4, 8)
        self.down = nn.Conv2d(8, 16, 3, stride=2, pad_mode="pad", padding=1, has_bias=True)
        self.down_norm = nn.GroupNorm(16, 16)
        self.prelu = nn.PReLU(16)
        self.deep = nn.Conv2d(16, 16, 3, pad_mode="valid", has_bias=True)
        self.fuse = nn.Conv2d(24, 16, 1)
        self.fuse_norm = nn.BatchNorm2d(16, eps=1e-3, momentum=0.99)
        self.squash = nn.Conv2d(4, 4, 1, has_bias=True)
        self.mask = nn.Conv2d(4, 1, 1, has_bias=True)
        self.head = nn.Dense(16, 6)

    def construct(self, x):
        fine = ops.relu(self.enter_norm(self.enter(x)))
        coarse = self.prelu(self.down_norm(self.down(fine)))
        coarse = ops.mish(self.deep(ops.pad(coarse, (1, 1, 1, 1), mode="replicate"))) + coarse
        wide = ops.interpolate(coarse, size=(16, 16), mode="bilinear", align_corners=False)
        joined = ops.softplus(self.fuse_norm(self.fuse(ops.cat([fine, wide], 1))))
        weights = ops.softmax(joined.mean((2, 3)), 1)
        logits = self.head(ops.amax(joined, (2, 3)) * weights)
        mask = self.squash(ops.pixel_shuffle(ops.clamp(joined, -1.0, 1.0), 2))
        small = ops.interpolate(mask, size=(12, 20), mode="bilinear", align_corners=False)
        small = small / ops.sqrt((small * small).sum(1, keepdims=True))
        small = ops.interpolate(small, size=(24, 40), mode="nearest")
        return logits, ops.sigmoid(self.mask(ops.adaptive_avg_pool2d(small, 9)))
