"""The program of parity_tests/data/test_mixing.py: timm's Mixup on the random numbers that Mixing draws."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from repro.data import Mixing
from repro.data.rng import random_stream


class Recorded(np.random.Generator):
    """A generator that keeps a record of its draws."""

    def __init__(self, seed: int) -> None:
        super().__init__(random_stream(seed).bit_generator)
        self.record: dict[str, list[Any]] = {"random": [], "beta": [], "integers": []}

    def recorded(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Draw with the method `name`, and record the result."""
        value = getattr(super(), name)(*args, **kwargs)
        self.record[name].append(value)
        return value

    def random(self, *args: Any, **kwargs: Any) -> Any:
        """Draw from 0 to 1."""
        return self.recorded("random", *args, **kwargs)

    def beta(self, *args: Any, **kwargs: Any) -> Any:
        """Draw from Beta distributions."""
        return self.recorded("beta", *args, **kwargs)

    def integers(self, *args: Any, **kwargs: Any) -> Any:
        """Draw integers."""
        return self.recorded("integers", *args, **kwargs)


def compare_with_timm() -> list[tuple[str, bool, bool]]:
    """Compare 540 mixed batches with timm's, and return the cases that occurred: mode, CutMix, mixed at all."""
    cases = set()
    for mode in ("batch", "pair", "elem"):
        for mixup, cutmix in ((0.8, 0.0), (0.0, 1.0), (0.8, 1.0)):
            for seed in range(60):
                cases.add(_compare_batch(mode, mixup, cutmix, seed))
    return sorted(cases)


def _compare_batch(mode: str, mixup: float, cutmix: float, seed: int) -> tuple[str, bool, bool]:
    """Compare one batch, and return its case."""
    import torch
    from timm.data.mixup import Mixup

    images = np.random.default_rng(0).standard_normal((8, 3, 20, 32)).astype(np.float32)
    labels = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    rng = Recorded(seed)
    mixing = Mixing(mixup=mixup, cutmix=cutmix, mode=mode, probability=0.7, switch=0.4)
    mixed, targets = mixing.mix(images, labels, 10, rng)
    (switches, applied), (shares,), (centres,) = rng.record.values()
    # timm draws whether to mix first for a batch, and last for pairs and elements
    is_batch = mode == "batch"
    choices = [switches] if mixup and cutmix else []
    uniform = deque([applied, *choices] if is_batch else [*choices, applied])
    np.random.rand = lambda *size: uniform.popleft()[0] if is_batch else uniform.popleft()
    np.random.beta = lambda a, b, size=None: shares[0] if is_batch else shares
    # timm draws a rectangle only for CutMix, in the order of the images
    is_cut = (switches < (0.4 if choices else float(cutmix > 0))) & (applied < 0.7) & (np.float32(shares) != 1)
    integers = deque(centres[is_cut].ravel())
    np.random.randint = lambda low, high, size=None: integers.popleft()  # type: ignore[assignment]
    reference = Mixup(mixup, cutmix, prob=0.7, switch_prob=0.4, mode=mode, label_smoothing=0.0, num_classes=10)
    expected, expected_targets = reference(torch.from_numpy(images.copy()), torch.from_numpy(labels))
    assert not integers
    assert not uniform or (is_batch and applied[0] >= 0.7)  # then timm draws nothing more
    assert expected_targets.shape == targets.shape
    assert np.abs(expected.numpy() - mixed).max() < 1e-6, (mode, mixup, cutmix, seed)
    assert np.abs(expected_targets.numpy() - targets).max() < 1e-6, (mode, mixup, cutmix, seed)
    return mode, bool(is_cut.any()), bool((applied < 0.7).any())
