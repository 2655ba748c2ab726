"""Mistakes in ports of torch_resize: interpolation, joining, group normalisation, reductions, several outputs."""

from parity_tests.corpus.mistake import Mistake, planted

WIDE = 'F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)'
SMALL = 'F.interpolate(mask, size=[12, 20], mode="bilinear", align_corners=False)'
JOIN = "paddle.concat([fine, wide], 1)"
UP = 'nn.Upsample(scale_factor=2, mode="nearest")'
SECOND = "squash|mask|up|output"

MISTAKES: list[Mistake] = [
    *planted(
        "resize", "paddle",
        ("align_corners", WIDE, WIDE.replace("False", "True"), "fuse", "bilinear, align_corners=False.*bilinear, align_corners=True"),
        ("nearest for bilinear", WIDE, 'F.interpolate(coarse, scale_factor=2, mode="nearest")', "fuse", "bilinear.*nearest"),
        ("bicubic for bilinear", WIDE, WIDE.replace("bilinear", "bicubic"), "fuse", "bilinear.*bicubic"),
        ("corners at 0", WIDE, WIDE.replace("align_corners=False", "align_corners=False, align_mode=1"), "fuse", "bilinear.*corners at 0"),
        ("joined in another order", JOIN, "paddle.concat([wide, fine], 1)", "fuse", r"concatenate\(relu\(enter_norm\), resize\(.*concatenate\(resize\("),
        ("resized before the sum", "wide = F.interpolate(coarse,", "wide = F.interpolate(coarse - F.mish(self.deep(coarse)) * 0.5,", "fuse|deep", "once in torch and 2 times"),
        ("ReLU for Mish", "F.mish(", "F.relu(", "deep|fuse", "mish.*relu"),
        ("SiLU for Mish", "F.mish(", "F.silu(", "deep|fuse", "mish.*silu"),
        ("dropped residual", "F.mish(self.deep(coarse)) + coarse", "F.mish(self.deep(coarse))", "fuse|deep", r"prelu \+ mish\(deep\).*, and paddle .*resize\(mish\(deep\)"),
        ("zeros at the border", ', padding_mode="replicate"', "", "deep", "padding mode is replicate in torch and zeros"),
        ("reflected border", 'padding_mode="replicate"', 'padding_mode="reflect"', "deep", "padding mode is replicate in torch and reflect"),
        ("groups of a normalisation", "self.enter_norm = nn.GroupNorm(4, 8)", "self.enter_norm = nn.GroupNorm(2, 8)", "enter_norm", "number of groups"),
        ("one group", "self.down_norm = nn.GroupNorm(16, 16)", "self.down_norm = nn.GroupNorm(1, 16)", "down_norm", "number of groups"),
        ("epsilon of group normalisation", "self.enter_norm = nn.GroupNorm(4, 8)", "self.enter_norm = nn.GroupNorm(4, 8, epsilon=1e-3)", "enter_norm", "epsilon"),
        ("epsilon of batch normalisation", "epsilon=1e-3, ", "", "fuse_norm", "epsilon"),
        ("momentum of batch normalisation", "momentum=0.99", "momentum=0.01", "fuse_norm", "momentum"),
        ("leaky for parametric ReLU", "self.prelu(self.down_norm(self.down(fine)))", "self.prelu(self.down_norm(self.down(fine))) * 1.01", "prelu|deep", r"1\.01"),
        ("softplus with another beta", "nn.Softplus()", "nn.Softplus(beta=2)", "softplus", "beta"),
        ("ReLU for softplus", "nn.Softplus()", "nn.ReLU()", "softplus|fuse_norm", "(?i)softplus.*relu"),
        ("softmax along the images", "F.softmax(joined.mean([2, 3]), 1)", "F.softmax(joined.mean([2, 3]), 0)", "head", r"softmax\(.*axis 1\).*softmax\(.*axis 0\)"),
        ("sigmoid for softmax", "F.softmax(joined.mean([2, 3]), 1)", "F.sigmoid(joined.mean([2, 3]))", "head", r"softmax\(.*sigmoid\(mean\("),
        ("mean for maximum", "joined.max([2, 3])", "joined.mean([2, 3])", "head", r"max\(softplus.*, and paddle mean\(softplus; axes 2, 3\) \* softmax"),
        ("weights left out", "joined.max([2, 3]) * weights", "joined.max([2, 3])", "head", r"softmax\(.*, and paddle max\(softplus; axes 2, 3\)$"),
        ("stride", "nn.Conv2D(8, 16, 3, stride=2, padding=1)", "nn.Conv2D(8, 16, 3, stride=2, padding=2)", "down", "padding"),
        ("kernel shifted", "nn.Conv2D(3, 8, 5, stride=2, padding=2)", 'nn.Conv2D(3, 8, 5, stride=2, padding="SAME")', "enter", "padding"),
        ("second output: no sigmoid", "F.sigmoid(self.mask(", "(self.mask(", SECOND, r"sigmoid\(mask\), and paddle mask"),
        ("second output: align_corners", SMALL, SMALL.replace("False", "True"), SECOND, "align_corners=False.*align_corners=True"),
        ("second output: nearest", SMALL, 'F.interpolate(mask, size=[12, 20], mode="nearest")', SECOND, "bilinear.*nearest"),
        ("second output: bilinear upsampling", UP, 'nn.Upsample(scale_factor=2, mode="bilinear")', SECOND, "interpolation is nearest|nearest.*bilinear"),
        ("second output: other axis", "F.normalize(small, axis=1)", "F.normalize(small, axis=2)", SECOND, "norm along axis 1.*norm along axis 2"),
        ("second output: L1 norm", "F.normalize(small, axis=1)", "F.normalize(small, p=1, axis=1)", SECOND, "L2 norm.*L1 norm"),
        ("second output: other limits", "F.hardtanh(joined)", "F.hardtanh(joined, -1.0, 0.5)", SECOND, "values above 0.5 are clipped"),
        ("second output: ReLU6 for hardtanh", "F.hardtanh(joined)", "F.relu6(joined)", SECOND, r"hardtanh\(.*relu6\("),
        ("second output: pixels shuffled otherwise", "F.pixel_shuffle(F.hardtanh(joined), 2)", "F.pixel_shuffle(F.hardtanh(joined).transpose([0, 1, 3, 2]), 2).transpose([0, 1, 3, 2])", SECOND, r"pixel_shuffle\(.*pixel_shuffle\(.*swapped"),
        ("second output: maximum for mean", "F.adaptive_avg_pool2d(small, 9)", "F.adaptive_max_pool2d(small, 9)", SECOND, "adaptive_avg_pool.*adaptive_max_pool"),
        ("second output: left out", "return logits, F.sigmoid(self.mask(F.adaptive_avg_pool2d(small, 9)))", "return logits, F.sigmoid(F.adaptive_avg_pool2d(small, 9))", SECOND, "once in torch and 0 times"),
        ("second output: scaled", "return logits, F.sigmoid(", "return logits, 2 * F.sigmoid(", SECOND, r"sigmoid\(mask\), and paddle 2 \*"),
    ),
    *planted(
        "resize", "mindspore",
        ("mindspore: align_corners", "size=(16, 16), mode=\"bilinear\", align_corners=False", "size=(16, 16), mode=\"bilinear\", align_corners=True", "fuse", "align_corners"),
        ("mindspore: ReLU for Mish", "ops.mish(", "ops.relu(", "deep|fuse", "mish.*relu"),
        ("mindspore: momentum", "momentum=0.99", "momentum=0.9", "fuse_norm", "momentum"),
        ("mindspore: groups", "nn.GroupNorm(4, 8)", "nn.GroupNorm(8, 8)", "enter_norm", "number of groups"),
    ),
    *planted(
        "resize", "torch",
        ("torch: align_corners", 'scale_factor=2, mode="bilinear", align_corners=False', 'scale_factor=2, mode="bilinear", align_corners=True', "fuse", "align_corners"),
        ("torch: zeros at the border", ', padding_mode="replicate"', "", "deep", "padding mode"),
        ("torch: joined in another order", "[fine, wide]", "[wide, fine]", "fuse", "concatenate"),
    ),
]  # fmt: skip
