"""Mixup and CutMix: the images of a batch are mixed with each other, and their labels with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from repro.choices import MIX_MODES, RANGES, check_range
from repro.data.batch import Batch
from repro.errors import ReproError


class MixDraws(NamedTuple):
    """The random draws for a batch of N images."""

    share: np.ndarray  # float32 (N,): the share of the image itself in its target
    is_cutmix: np.ndarray  # bool (N,): CutMix or mixup
    top_left: np.ndarray  # int64 (N, 2): the first row and column of CutMix's rectangle
    bottom_right: np.ndarray  # int64 (N, 2): the row and column after its last

    def of(self, part: slice) -> MixDraws:
        """Return the draws for a part of the images."""
        return MixDraws(*(values[part] for values in self))


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """Mixup (Zhang et al., arXiv:1710.09412), CutMix (Yun et al., arXiv:1905.04899), or a random choice between them.

    The definitions are those of timm.data.mixup.Mixup with mixup_alpha, cutmix_alpha, prob, switch_prob and mode. The
    draws come from a NumPy generator, and the images are arrays, so that every backend sees the same batches.

    Image i of N is mixed with image N - 1 - i. A draw from Beta(alpha, alpha) is the share that the image itself keeps:
    of its pixel values in mixup, of its area in CutMix. CutMix's rectangle is clipped at the borders of the image, and
    the target follows the area that is really replaced. For odd N, which timm refuses, the image in the middle is mixed
    with itself and stays unchanged.

    Raises ReproError for values out of range.
    """

    mixup: float = 0.0  # alpha; 0: no mixup
    cutmix: float = 0.0  # alpha; 0: no CutMix
    probability: float = 1.0  # probability of mixing
    switch: float = 0.5  # probability of CutMix if both are on
    mode: str = "batch"  # draw once per batch, per pair of images, or per image ("elem")

    def __post_init__(self) -> None:
        for name in ("mixup", "cutmix"):
            check_range(name, getattr(self, name))
        if not self.mixup and not self.cutmix:
            raise ReproError("mixup and cutmix are both 0, so nothing is mixed; set one of them, for example to 0.8")
        for name in ("probability", "switch"):
            check_range(name, getattr(self, name), RANGES[f"mix_{name}"])
        if self.mode not in MIX_MODES:
            raise ReproError(f"mode must be one of {', '.join(MIX_MODES)}, not {self.mode!r}")

    def mix(
        self, images: np.ndarray, labels: np.ndarray, num_classes: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a whole batch mixed, as mix_pairs returns it, by the draws of `rng`."""
        draws = self.draw(len(images), images.shape[2:], rng)
        one_hot = np.eye(num_classes, dtype=np.float32)
        return mix_pairs((images, labels), (images, labels), draws, one_hot)

    def draw(self, count: int, size: tuple[int, ...], rng: np.random.Generator) -> MixDraws:
        """Return the draws for a batch of `count` images of this height and width."""
        sides = np.array(size)
        index = np.arange(count)
        draw_of_image = {"batch": 0 * index, "pair": np.minimum(index, index[::-1]), "elem": index}[self.mode]
        draws = draw_of_image.max() + 1
        is_cutmix = rng.random(draws) < (self.switch if self.mixup and self.cutmix else float(self.cutmix > 0))
        alpha = np.where(is_cutmix, self.cutmix, self.mixup)
        share = np.where(rng.random(draws) < self.probability, rng.beta(alpha, alpha), 1.0)
        centre = rng.integers(sides, size=(draws, 2))
        cut = (sides * np.sqrt(1 - share)[:, None]).astype(np.int64)
        top_left = np.clip(centre - cut // 2, 0, sides)
        bottom_right = np.clip(centre + (cut + 1) // 2, 0, sides)
        kept_area = 1 - (bottom_right - top_left).prod(axis=1) / sides.prod()
        share = np.where(is_cutmix, kept_area, share).astype(np.float32)
        return MixDraws(
            share[draw_of_image], is_cutmix[draw_of_image], top_left[draw_of_image], bottom_right[draw_of_image]
        )


def mix_pairs(batch: Batch, partners: Batch, draws: MixDraws, class_targets: np.ndarray) -> Batch:
    """Return mixed images float32 (N, C, H, W) and soft targets float32 (N, classes).

    batch, partners: images float32 (N, C, H, W) and labels int64 (N,): image i is mixed with partner N - 1 - i.
    draws: those for the images of `batch`. class_targets: the target of each class, float32 (classes, classes), such as
    the identity matrix, with which targets sum to 1.
    """
    (images, labels), (partner_images, partner_labels) = batch, partners
    partner_share = 1 - draws.share
    targets = draws.share[:, None] * class_targets[labels]
    targets += partner_share[:, None] * class_targets[partner_labels[::-1]]
    mixed = images * 1  # a copy: arrays and tensors have no common method that makes one
    for i in range(len(labels)):
        partner = partner_images[len(labels) - 1 - i]
        if draws.is_cutmix[i]:
            (top, left), (bottom, right) = draws.top_left[i], draws.bottom_right[i]
            mixed[i, :, top:bottom, left:right] = partner[:, top:bottom, left:right]
        elif partner_share[i]:
            mixed[i] *= draws.share[i]
            mixed[i] += partner * partner_share[i]
    return mixed, targets
