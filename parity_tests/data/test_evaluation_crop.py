"""The centre crop of repro.data.transform against the image preparation of torchvision and timm."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from parity_tests.conftest import RunProgram
from repro.data import Transform
from repro.errors import ReproError
from repro.published.lookup import table


@pytest.mark.slow
def test_images_are_prepared_as_the_publishers_prepare_them(
    require_backend: Callable[[str], None], run_program: RunProgram
) -> None:
    """Every published centre crop: pixels are bit-identical, and their normalisation agrees within rounding."""
    require_backend("torch")
    crops = [entry.preprocessing for entry in table() if "crop_fraction" in (entry.preprocessing or {})]
    preparations = {json.dumps(dict(crop)) for crop in crops}
    assert len(preparations) > 20
    assert run_program("torch", "evaluation_crop:differing", list(map(json.loads, sorted(preparations)))) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop_fraction": 0.05}, "crop_fraction must be a number from 0.1 to 1"),
        ({"crop_fraction": 1.5}, "crop_fraction must be"),
        ({"interpolation": "lanczos"}, "interpolation must be bilinear or bicubic, not 'lanczos'"),
    ],
)
def test_wrong_crops_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ReproError, match=message):
        Transform(image_size=8, **values)  # type: ignore[arg-type]
