"""Programs of parity_tests/data/test_evaluation_crop.py."""

from __future__ import annotations

from typing import Any


def differing(preparations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the preparations in which Transform differs from torchvision's preset, or from timm's, for some image."""
    import numpy as np
    import timm.data
    from PIL import Image
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    from repro.data import Transform

    noise = np.random.default_rng(0).integers(256, size=(97, 131, 3), dtype=np.uint8)
    images = [Image.fromarray(noise).resize(shape) for shape in ((640, 480), (301, 399), (231, 231), (97, 40))]
    different = []
    for preparation in preparations:
        size, fraction = preparation["image_size"], preparation["crop_fraction"]
        transform = Transform(resize="crop", **preparation)
        mean, std = preparation["mean"], preparation["std"]
        by_torchvision = ImageClassification(
            crop_size=size, resize_size=round(size / fraction), mean=mean, std=std,
            interpolation=InterpolationMode(preparation["interpolation"]),
        )  # fmt: skip
        by_timm = timm.data.create_transform(
            size,
            interpolation=preparation["interpolation"],
            mean=mean,
            std=std,
            crop_pct=size / (size / fraction + 0.01),
        )
        for image in images:
            ours = transform.normalise(transform.pixels(image).transpose(2, 0, 1)[None])[0]
            for other in (by_torchvision, by_timm):
                if np.abs(ours - np.asarray(other(image))).max() > 1e-6:  # a grey level is 1 / 255 or more
                    different.append(preparation)
    return different
