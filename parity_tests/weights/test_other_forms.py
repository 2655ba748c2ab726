"""Weights in forms other than that of a plain network, as torch, PaddlePaddle and Keras write them: read, or named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from parity_tests.conftest import RunProgram
from parity_tests.support.native_samples import same
from repro.errors import ReproError
from repro.specs import CATALOGUE, find_spec
from repro.untrusted import BFLOAT16
from repro.weights.formats import native_names
from repro.weights.layouts import layouts_for
from repro.weights.other_forms import ordinary_weights
from repro.weights.porting import Checkpoint, read_checkpoint

Require = Callable[[str], None]


@pytest.fixture(scope="module")
def save(
    require_backend: Require,
    require_package: Require,
    run_program: RunProgram,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, str, str], Path]:
    """A function that runs save_KIND in the process of a backend, if a package is there, and returns the folder."""

    def save_files(kind: str, backend: str, package: str) -> Path:
        require_backend(backend)
        require_package(package)
        folder = tmp_path_factory.mktemp(kind)
        run_program(backend, f"other_forms:save_{kind}", str(folder))
        return folder

    return save_files


@pytest.fixture(scope="module")
def torch_files(save: Callable[[str, str, str], Path]) -> Path:
    return save("torch", "torch", "torchvision")


@pytest.fixture(scope="module")
def paddle_files(save: Callable[[str, str, str], Path]) -> Path:
    return save("paddle", "paddle", "paddle")


@pytest.fixture(scope="module")
def keras_files(save: Callable[[str, str, str], Path]) -> Path:
    return save("keras", "torch", "keras")


def read(path: Path) -> tuple[Checkpoint, str]:
    """Return a checkpoint and the lines that were logged."""
    lines: list[str] = []
    return read_checkpoint(path, log=lines.append), "\n".join(lines)


def assert_named(path: Path, sentence: str) -> None:
    """Assert that the file is refused by one line with this sentence."""
    with pytest.raises(ReproError, match=re.escape(sentence)) as caught:
        read(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["pruned.pth", "pruned_module.pt", "pruned_half.pth", "pruned_module_half.pt"])
def test_pruned_weights_are_what_torch_makes_of_them(torch_files: Path, name: str) -> None:
    checkpoint, log = read(torch_files / name)
    suffix = "_half" if "half" in name else ""
    expected = read(torch_files / f"expected_pruned{suffix}.pth")[0].weights
    assert same(checkpoint.weights, expected)
    assert "applied the masks of 53 pruned weights: features.0.0.weight, ..." in log
    zeros = np.mean(checkpoint.weights["classifier.weight"] == 0)
    assert 0.49 < zeros < 0.51


def test_a_pruned_ema(torch_files: Path) -> None:
    checkpoint, log = read(torch_files / "pruned_ema.pth")
    expected = read(torch_files / "expected_pruned.pth")[0].weights
    assert same(checkpoint.weights, expected)
    assert same(checkpoint.ema, expected)
    assert log.count("applied the masks") == 1


def test_pruned_weights_that_share_values_are_refused(torch_files: Path) -> None:
    """A small file could otherwise repeat one tensor until the products fill the memory."""
    line = "holds b.weight_orig, a pruned weight that shares its values with another; call torch.nn.utils.prune.remove"
    assert_named(torch_files / "shared.pth", line)


def test_a_list_of_names_and_tensors(torch_files: Path) -> None:
    assert same(read(torch_files / "pairs.pth")[0].weights, read(torch_files / "expected.pth")[0].weights)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("parallel_features.pth", "removed the wrapper module inside the names"),
        ("fsdp_features.pth", "removed the wrapper _fsdp_wrapped_module inside the names"),
        ("compiled_features.pth", "removed the wrapper _orig_mod inside the names"),
        ("checkpointed_features.pth", "removed the wrapper _checkpoint_wrapped_module inside the names"),
        ("extra_state.pth", "skipped 1 extra state, which is not a weight: classifier.1._extra_state"),
        ("sparse_elsewhere.pth", "left out: graph/classifier.1.weight (sparse tensor; save the result of .to_dense())"),
    ],
)
def test_what_surrounds_the_weights_is_removed(torch_files: Path, name: str, line: str) -> None:
    checkpoint, log = read(torch_files / name)
    assert same(checkpoint.weights, read(torch_files / "expected.pth")[0].weights)
    assert line in log


LOAD = "load it into the network, call"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("weight_norm", f"1.weight_g, a weight of weight_norm; {LOAD} remove_weight_norm(layer) on each"),
        (
            "spectral_norm",
            f"1.weight_orig, a weight of spectral_norm; {LOAD} torch.nn.utils.remove_spectral_norm(layer",
        ),
        (
            "parametrized_weight_norm",
            "1.parametrizations.weight.original0, a parametrization; "
            f"{LOAD} torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') on each such layer",
        ),
        ("parametrized_spectral_norm", "holds classifier.1.parametrizations.weight.original, a parametrization; "),
        ("sparse", "classifier.1.weight in the file is a sparse tensor; save the result of .to_dense()"),
        ("sparse_model", "model/classifier.1.weight in the file is a sparse tensor; save the result of .to_dense()"),
        ("sparse_csr", "classifier.1.weight in the file is a sparse tensor; save the result of .to_dense()"),
        ("meta", "classifier.1.weight in the file is a tensor of the device meta, which has no values"),
        ("bytes", "holds int8 in classifier.1.weight, a quantised weight; save the model before its quantisation"),
        ("scale_of_8_bits", "holds classifier.1.SCB, a scale of quantised weights; save the model before its"),
        ("scale_of_4_bits", "holds classifier.1.weight.absmax, a scale of quantised weights; save the model"),
        ("scale_of_keras", "holds classifier.1.kernel_scale, a scale of quantised weights; save the model"),
        ("parametrized_bias", f"{LOAD} torch.nn.utils.parametrize.remove_parametrizations(layer, 'bias') on each"),
        ("lora", "holds classifier.1.lora_A.default.weight, a part of LoRA; merge it with merge_and_unload() of peft"),
        ("observed", ", an observer of quantisation; save the model before its quantisation"),
        ("nameless", "it is a list of arrays without their names; save model.state_dict()"),
        ("repeated_pairs", "it is a list of names and arrays in which a name occurs twice"),
        ("quantised", "QInt8Storage; save the model before its quantisation"),
        ("quantised_tensor", "it holds a torch.QInt8Storage; save the model before its quantisation"),
    ],
)
def test_other_forms_of_torch_are_named(torch_files: Path, name: str, sentence: str) -> None:
    assert_named(torch_files / f"{name}.pth", sentence)


def test_tensors_in_shards_are_named(
    require_backend: Require, require_package: Require, run_program: RunProgram, tmp_path: Path
) -> None:
    require_backend("torch")
    require_package("torchvision")
    run_program("torch", "other_forms:save_distributed", str(tmp_path))
    sentence = "classifier.1.weight in the file is a torch.distributed.tensor.DTensor; save an ordinary tensor, as"
    assert_named(tmp_path / "dtensor.pth", sentence)


@pytest.mark.parametrize(("name", "group"), [("list", "0"), ("tuple", "1")])
def test_a_state_dict_in_a_list_of_paddle(paddle_files: Path, name: str, group: str) -> None:
    checkpoint, log = read(paddle_files / f"{name}.pdparams")
    assert same(checkpoint.weights, read(paddle_files / "expected.pdparams")[0].weights)
    assert f"read the weights under '{group}'" in log


def test_weight_norm_of_paddle_is_named(paddle_files: Path) -> None:
    assert_named(paddle_files / "weight_norm.pdparams", "classifier.1.weight_g, a weight of weight_norm; load it into")


@pytest.mark.parametrize("name", ["bfloat16.h5", "bfloat16.keras", "bfloat16.weights.h5"])
def test_bfloat16_of_keras(keras_files: Path, name: str) -> None:
    weights = read(keras_files / name)[0].weights
    assert {array.dtype for array in weights.values()} == {BFLOAT16}
    exact = {key: array.astype(np.float32) for key, array in weights.items()}
    assert same(exact, read(keras_files / "expected.h5")[0].weights)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("lora.h5", "holds predictions.lora_kernel_a, a part of LoRA; save the model as .keras, which merges it"),
        ("int8.h5", "holds int8 in predictions.kernel, a quantised weight; save the model before its quantisation"),
        ("int8.keras", "holds int8 in predictions.kernel, a quantised weight; save the model before its quantisation"),
    ],
)
def test_other_forms_of_keras_are_named(keras_files: Path, name: str, sentence: str) -> None:
    assert_named(keras_files / name, sentence)


def test_folders_and_shards_of_deepspeed(tmp_path: Path) -> None:
    inner = tmp_path / "run" / "global_step300"
    inner.mkdir(parents=True)
    shard = inner / "zero_pp_rank_0_mp_rank_00_model_states.pt"
    shard.write_bytes(b"\x80")
    merge = "merge all shards with the zero_to_fp32.py next to their folder: python zero_to_fp32.py . OUTPUT"
    assert_named(shard, f"{shard} is a shard of DeepSpeed's ZeRO; {merge}")
    for folder in (inner, inner.parent):
        assert_named(folder, f"{folder} is a folder of DeepSpeed; {merge}")
    (inner / "mp_rank_00_model_states.pt").write_bytes(b"\x80")
    for folder in (inner, inner.parent):
        assert_named(folder, f"{folder} is a folder of DeepSpeed; give {inner / 'mp_rank_00_model_states.pt'}")


def test_no_layout_looks_like_another_form() -> None:
    for model in CATALOGUE:
        spec = find_spec(model)
        for layout in layouts_for(spec):
            arrays = dict.fromkeys(layout.names(spec, native_names(layout.format)).values(), np.ones((1, 1)))
            lines: list[str] = []
            assert ordinary_weights(arrays, Path("file"), lines.append) == arrays
            assert not lines
