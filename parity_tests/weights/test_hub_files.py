"""Files of PaddleClas, pytorchcv and Hugging Face: recognition from the arrays alone, shards, and lookalikes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.arrays import Arrays
from repro.interface.discovery import native_weights
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.formats import native_names
from repro.weights.init import random_weights
from repro.weights.layouts import PUBLISHED, Layout, identify_model, layout_named, recognise_layout
from repro.weights.porting import read_checkpoint

PUBLISHERS = ("pytorchcv", "transformers", "paddleclas")
MODEL = "mobilenet_v2_x0_35"
SPEC = find_spec(MODEL, num_classes=5)
WEIGHTS = random_weights(SPEC, 1)


def ids(case: object) -> str:
    return case.publisher if isinstance(case, Layout) else str(case)


@pytest.mark.parametrize(
    ("layout", "model"),
    [(layout, min(layout.models, key=str)) for layout in PUBLISHED if layout.publisher in PUBLISHERS],
    ids=ids,
)
def test_the_arrays_alone_identify_layout_and_model(layout: Layout, model: str) -> None:
    shapes = layout.shapes(find_spec(model, num_classes=7), native_names(layout.format))
    arrays = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    assert identify_model(arrays, layout.format, Path("w")) == model
    fitting, is_complete = recognise_layout(arrays, find_spec(model), layout.format)
    assert is_complete
    assert layout.publisher in [candidate.publisher for candidate in fitting]


def write_hub_folder(folder: Path, arrays: Arrays, suffix: str, files: int) -> Path:
    """Write the arrays as a repository of Hugging Face holds them, and return the file or the folder to read."""
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    names = list(arrays)
    weight_map: dict[str, str] = {}
    for number in range(files):
        file = f"{stem}-{number + 1:05}-of-{files:05}{suffix}" if files > 1 else f"{stem}{suffix}"
        shard = {name: arrays[name] for name in names[number::files]}
        weight_map |= dict.fromkeys(shard, file)
        if suffix == ".safetensors":
            safetensors_file.save(folder / file, shard, {"format": "pt"})
        else:
            native_weights("torch").write(folder / "shard.pth", shard)
            (folder / "shard.pth").rename(folder / file)
    if files == 1:
        return folder / file
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("prefix", ["", "timm_model."])  # of timm's own repositories, and of transformers' TimmWrapper
def test_timm_networks_on_the_hub(prefix: str, files: int, suffix: str, tmp_path: Path) -> None:
    published = layout_named("timm", SPEC).to_published(WEIGHTS, SPEC, native_names("torch"))
    arrays = {prefix + name: array for name, array in published.items()}
    arrays[f"{prefix}bn1.num_batches_tracked"] = np.array(3)
    lines: list[str] = []
    checkpoint = read_checkpoint(write_hub_folder(tmp_path, arrays, suffix, files), log=lines.append)
    assert checkpoint.spec == SPEC
    assert checkpoint.metadata["source_layout"] == "timm"
    assert all(checkpoint.weights[name].tobytes() == WEIGHTS[name].tobytes() for name in WEIGHTS)
    assert (f"removed the prefix {prefix!r} from every name" in lines) == bool(prefix)


@pytest.mark.parametrize("model", ["shufflenet_v2_x1_0_torchvision", "shufflenet_v2_x0_5_torchvision"])
def test_a_lookalike_is_named(model: str, tmp_path: Path) -> None:
    spec = find_spec(model, num_classes=3)
    arrays = layout_named("paddleclas", spec).to_published(random_weights(spec, 0), spec, native_names("paddle"))
    native_weights("paddle").write(tmp_path / "w.pdparams", arrays)
    lines: list[str] = []
    assert read_checkpoint(tmp_path / "w.pdparams", log=lines.append).spec == spec
    note = "note: ShuffleNetV2_swish of paddleclas, which computes something else, has the same names and shapes"
    assert (note in lines) == (model == "shufflenet_v2_x1_0_torchvision")


@pytest.mark.parametrize(
    "layout", [layout for layout in PUBLISHED if layout.lookalikes], ids=lambda layout: layout.publisher
)
def test_lookalikes_have_the_same_names_and_shapes(
    layout: Layout, run_program: Callable[..., Any], require_package: Callable[[str], None]
) -> None:
    require_package(layout.publisher)
    model, expression = next(iter(layout.lookalikes.items()))
    shapes = run_program(layout.format, "packages:shapes", layout.publisher, expression)
    expected = layout.shapes(find_spec(model), native_names(layout.format))
    assert {name: tuple(shape) for name, shape in shapes.items()} == expected
