"""Checkpoints as training scripts write them: wrappers, metrics, averages, and optimizers of other packages."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface.discovery import native_weights
from repro.port import main
from repro.specs import CATALOGUE, STATISTICS, find_spec
from repro.weights.checkpoint_groups import WRAPPERS, common_prefix
from repro.weights.formats import native_names, write_file
from repro.weights.init import random_weights
from repro.weights.layouts import layouts_for
from repro.weights.porting import Checkpoint, read_checkpoint, write_checkpoint, write_weights

Run = Callable[..., Any]

MODEL = "asymmnet_small_x0_35"
SPEC = find_spec(MODEL, num_classes=5)
WEIGHTS, EMA = random_weights(SPEC, 1), random_weights(SPEC, 2)


def same(left: Arrays, right: Arrays) -> bool:
    return left.keys() == right.keys() and all(left[name].tobytes() == right[name].tobytes() for name in left)


def prefixed(prefix: str, arrays: Arrays = WEIGHTS) -> Arrays:
    return {prefix + name: array for name, array in arrays.items()}


def read(path: Path, contents: Arrays, **options: Any) -> tuple[Any, str]:
    """Write the contents, and return what read_checkpoint makes of them and the lines that it logs."""
    lines: list[str] = []
    write_file(path, contents, {})
    return read_checkpoint(path, MODEL, log=lines.append, **options), "\n".join(lines)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.module.", "module._orig_mod.", "model.", "model.backbone.", "my.own.wrapper."]
)
@pytest.mark.parametrize("suffix", [".pth", ".ckpt"])
def test_prefixes_in_any_order_and_depth(prefix: str, suffix: str, tmp_path: Path) -> None:
    counters = {
        f"{prefix}stem.norm.num_batches_tracked": np.array([3], np.int32),
        "n_averaged": np.array([2], np.int32),
    }
    checkpoint, log = read(tmp_path / f"a{suffix}", prefixed(prefix) | counters)
    assert same(checkpoint.weights, WEIGHTS)
    first = prefix if prefix == "my.own.wrapper." else f"{prefix.partition('.')[0]}."
    assert f"removed the prefix {first!r} from every name" in log


def test_arrays_of_the_wrapper_are_left_out(tmp_path: Path) -> None:
    """A Lightning module keeps its network in `model` and the weights of its loss in `criterion`."""
    contents = {f"state_dict/{name}": array for name, array in prefixed("model.").items()}
    contents["state_dict/criterion.weight"] = np.ones(5, "float32")
    checkpoint, log = read(tmp_path / "a.pth", contents)
    assert same(checkpoint.weights, WEIGHTS)
    assert "removed the prefix 'model.', and left out 1 array without it: criterion.weight" in log


def test_a_given_prefix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A prefix chooses one of two networks in a file."""
    contents = prefixed("teacher.") | prefixed("student.", EMA)
    for prefix, expected in (("teacher.", WEIGHTS), ("student.", EMA)):
        checkpoint, log = read(tmp_path / "a.pth", contents, prefix=prefix)
        assert same(checkpoint.weights, expected)
        assert f"removed the prefix {prefix!r}, and left out {len(WEIGHTS)} arrays without it" in log
    with pytest.raises(ReproError, match=r"^no array has the prefix 'pupil\.'; the first name is teacher\.stem"):
        read(tmp_path / "a.pth", contents, prefix="pupil.")
    arguments = [str(tmp_path / "a.pth"), str(tmp_path / "b.safetensors"), "--model", MODEL, "--prefix", "student."]
    assert main(arguments) == 0
    assert same(read_checkpoint(tmp_path / "b.safetensors", log=str).weights, EMA)
    assert "left out" in capsys.readouterr().out


def test_the_prefix_of_names_that_fit_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReproError, match=r"is it another model\? \(every name begins with 'trunk\.part\.'\)$"):
        read(tmp_path / "a.pth", {"trunk.part.x": np.ones(3, "float32"), "trunk.part.y": np.ones(3, "float32")})


def test_optimizer_and_ema_lose_the_prefix_too(tmp_path: Path) -> None:
    trained = {name: array for name, array in EMA.items() if SPEC.weights[name].kind not in STATISTICS}
    write_checkpoint(tmp_path / "a.ckpt", Checkpoint(SPEC, WEIGHTS, EMA, {"velocity": trained}))
    contents = native_weights("mindspore").read(tmp_path / "a.ckpt")
    for prefix in ("backbone.", "my.own."):
        wrapped = {re.sub(r"^(moments\.|ema\.)?", rf"\1{prefix}", name): array for name, array in contents.items()}
        assert f"moments.{prefix}stem.conv.weight" in wrapped
        checkpoint, log = read(tmp_path / "b.ckpt", wrapped)
        assert same(checkpoint.weights, WEIGHTS)
        assert same(checkpoint.ema, EMA)
        assert same(checkpoint.slots["velocity"], trained), log


def test_no_wrapper_hides_a_layout() -> None:
    """No network of the catalogue begins a name with a wrapper's attribute, or all names with the same attribute."""
    for model in CATALOGUE:
        spec = find_spec(model)
        for layout in layouts_for(spec):
            names = dict.fromkeys(layout.names(spec, native_names(layout.format)).values(), np.ones(1))
            assert not common_prefix(names), (model, layout.publisher)
            assert not any(name.partition(".")[0] in WRAPPERS for name in names), (model, layout.publisher)


@pytest.mark.parametrize("metric", ["best_acc1", "epoch"])
def test_scalars_alone_are_never_the_weights(metric: str, tmp_path: Path) -> None:
    contents = {f"state_dict/{name}": array for name, array in WEIGHTS.items()} | {metric: np.array(40.0, "float32")}
    checkpoint, log = read(tmp_path / "a.pth", contents)
    assert same(checkpoint.weights, WEIGHTS)
    assert "read the weights under 'state_dict'" in log


def test_another_variant_that_fits_is_named(tmp_path: Path) -> None:
    """torchvision's ShuffleNet V2 orders a unit's operations differently from the paper, which shows in its shapes."""
    spec = find_spec("shufflenet_v2_x0_5_torchvision")
    write_weights(tmp_path / "a.pth", spec, random_weights(spec, 1))
    message = (
        "does not fit shufflenet_v2_x0_5; it fits shufflenet_v2_x0_5_torchvision: give --model shufflenet_v2_x0_5_t"
    )
    with pytest.raises(ReproError, match=message):
        read_checkpoint(tmp_path / "a.pth", "shufflenet_v2_x0_5", log=str)


def test_an_ema_that_is_skipped_is_not_announced(tmp_path: Path) -> None:
    contents = {f"model/{name}": array for name, array in WEIGHTS.items()}
    for ema, message in (
        ({"ema/other.x": np.ones(3, "float32")}, "skipped the EMA: other.x does not belong to any weight"),
        (
            {"ema/stem.conv.weight": np.ones(3, "float32")},
            "skipped the EMA: stem.conv.weight has shape (3,) instead of",
        ),
        ({"ema/stem.conv.weight": EMA["stem.conv.weight"]}, "skipped the EMA: stem.norm.weight is missing"),
    ):
        checkpoint, log = read(tmp_path / "a.pth", contents | ema)
        assert not checkpoint.ema
        assert message in log
        assert "read the EMA" not in log
    checkpoint, log = read(tmp_path / "a.pth", contents | {f"ema/module.{name}": array for name, array in EMA.items()})
    assert same(checkpoint.ema, EMA)
    assert "read the EMA under 'ema'" in log


def test_averaged_model_of_torch(tmp_path: Path, run_program: Run, require_backend: Callable[[str], None]) -> None:
    require_backend("torch")
    paths = [str(tmp_path / name) for name in ("checkpoint.pth", "weights.pth", "average.pth")]
    run_program("torch", "wrapped_checkpoints:averaged_model", MODEL, *paths)
    checkpoint = read_checkpoint(paths[0], MODEL, log=str)
    assert same(checkpoint.weights, read_checkpoint(paths[1], MODEL, log=str).weights)
    assert same(checkpoint.ema, read_checkpoint(paths[2], MODEL, log=str).weights)
    assert not same(checkpoint.ema, checkpoint.weights)
    assert main([paths[0], str(tmp_path / "b.pdparams"), "--model", MODEL]) == 0
    names = native_weights("paddle").read(tmp_path / "b.pdparams")
    assert sum(name.startswith("ema/") for name in names) == len(WEIGHTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "name", "model"),
    [
        ("torchvision", "mobilenet_v3_small", "mobilenet_v3_small"),
        ("timm", "resnetv2_50", "resnet50_v2"),
        ("timm", "rdnet_tiny", "rdnet_tiny"),
        ("pytorchcv", "mobilenetv3_small_w1", "asymmnet_small_r0"),
    ],
)
def test_optimizers_of_packages(
    package: str, name: str, model: str, tmp_path: Path, run_program: Run, require_package: Callable[[str], None]
) -> None:  # fmt: skip
    """torch numbers parameters in the order of the package's network, which is not always ours."""
    require_package(package)
    path = tmp_path / "a.pth"
    run_program("torch", "wrapped_checkpoints:package_optimizer", package, name, str(path), False)
    checkpoint = read_checkpoint(path, model, log=str)
    trained = [name for name, weight in checkpoint.spec.weights.items() if weight.kind not in STATISTICS]
    assert same(checkpoint.slots["velocity"], {name: 2 * checkpoint.weights[name] for name in trained})


def test_groups_of_parameters_hide_their_order(
    tmp_path: Path, run_program: Run, require_backend: Callable[[str], None]
) -> None:  # fmt: skip
    require_backend("torch")
    path, lines = tmp_path / "a.pth", list[str]()
    run_program("torch", "wrapped_checkpoints:package_optimizer", "torchvision", "mobilenet_v3_small", str(path), True)
    checkpoint = read_checkpoint(path, "mobilenet_v3_small", log=lines.append)
    assert not checkpoint.slots
    assert any(
        line.startswith("skipped the optimizer's velocity: ")
        and line.endswith("; several groups of parameters change their order")
        for line in lines
    )


def test_the_prefix_of_a_network_inside_a_wrapper_can_be_given_as_it_is_named(tmp_path: Path) -> None:
    """The wrapper's prefix is recognised, and still belongs to what --prefix takes."""
    queue = {"module.queue": np.ones((4, 4), "float32")}
    for second, count in ((prefixed("module.encoder_k.", EMA), "several networks"), ({}, "a network beside other")):
        with pytest.raises(ReproError, match=rf"holds {count} .*'module\.encoder_q\.'.*choose one with --prefix"):
            read(tmp_path / "a.pth", prefixed("module.encoder_q.") | second | queue)
        checkpoint, _ = read(
            tmp_path / "a.pth", prefixed("module.encoder_q.") | second | queue, prefix="module.encoder_q."
        )
        assert same(checkpoint.weights, WEIGHTS)


def test_names_without_a_common_beginning_are_refused_soon(tmp_path: Path) -> None:
    """Every variant is compared with the largest groups of names only, and not with each of a thousand."""
    write_file(tmp_path / "a.pth", {f"layer_{n}.kernel": np.ones(3, "float32") for n in range(1000)}, {})
    start = time.process_time()
    with pytest.raises(ReproError, match="fit no variant entirely; add --model NAME"):
        read_checkpoint(tmp_path / "a.pth", log=str)
    assert time.process_time() - start < 20  # seconds of processor time; it takes at most 1


def test_counters_of_any_type_and_package_are_no_weights(tmp_path: Path) -> None:
    """`{name: tensor.float()}` of a whole state dict, and the counts of operations that the package thop adds."""
    counters = ("stem.norm.num_batches_tracked", "stem.total_params", "total_params")
    contents = WEIGHTS | {name: np.array(3, "float32") for name in counters}
    checkpoint, log = read(tmp_path / "a.pth", contents)
    assert same(checkpoint.weights, WEIGHTS)
    assert "skipped 3 counters, which are not weights: stem.norm.num_batches_tracked, ..." in log


TRAINED = {name: array for name, array in EMA.items() if SPEC.weights[name].kind not in STATISTICS}


@pytest.mark.parametrize(
    ("prefixes", "slots"),
    [
        (("accum", "stat"), {"accum": "velocity"}),  # nn.SGD
        (("adam_m", "adam_v"), {"adam_m": "moment1", "adam_v": "moment2"}),  # nn.AdamWeightDecay
        (("moment", "mean_square"), {"mean_square": "square"}),  # nn.RMSProp
        (("accum",), {}),  # nn.Adagrad
    ],
)
def test_every_optimizer_of_mindspore(prefixes: tuple[str, ...], slots: dict[str, str], tmp_path: Path) -> None:
    """Arrays that are not converted are mentioned, and hide no weight."""
    names = native_names("mindspore")
    weights = names.to_native(WEIGHTS, SPEC.weights)
    trained = names.to_native(TRAINED, {name: SPEC.weights[name] for name in TRAINED})
    contents = weights | {f"{prefix}.{name}": array for prefix in prefixes for name, array in trained.items()}
    settings = {"learning_rate": np.array(0.1, "float32"), "momentum": np.array(0.9, "float32")}
    checkpoint, log = read(tmp_path / "a.ckpt", contents | settings)
    assert same(checkpoint.weights, WEIGHTS)
    assert checkpoint.slots.keys() == set(slots.values())
    assert all(same(checkpoint.slots[slot], TRAINED) for slot in slots.values())
    for prefix in prefixes:
        assert (f"skipped {len(trained)} other arrays of the optimizer: {prefix}." in log) == (prefix not in slots)


@pytest.mark.parametrize("group", ["optimizer_state_dict", "optim", "optimizers/0"])
def test_names_of_an_optimizers_group(group: str, tmp_path: Path) -> None:
    contents = {f"model_state_dict/{name}": array for name, array in WEIGHTS.items()}
    for number, array in enumerate(TRAINED.values()):
        contents[f"{group}/state/{number}/momentum_buffer"] = array
        contents[f"another/state/{number}/sum"] = array
    checkpoint, log = read(tmp_path / "a.pth", contents)
    assert same(checkpoint.slots["velocity"], TRAINED)
    assert f"skipped {len(TRAINED)} other arrays: another/state/0/sum, ..." in log


def test_the_optimizer_of_another_network_is_skipped(tmp_path: Path) -> None:
    contents = {f"model/{name}": array for name, array in WEIGHTS.items()}
    for number, array in enumerate(TRAINED.values()):
        contents[f"optimizer/state/{number}/momentum_buffer"] = array
        contents[f"optim/state/{number}/momentum_buffer"] = -array
        contents[f"opt/state/{number}/exp_avg"] = array  # other slots
    checkpoint, log = read(tmp_path / "a.pth", contents)
    assert same(checkpoint.slots["velocity"], TRAINED)
    assert same(checkpoint.slots["moment1"], TRAINED)
    assert f"skipped {len(TRAINED)} other arrays: optim/state/0/momentum_buffer, ..." in log


def test_an_optimizer_alone_is_named(tmp_path: Path) -> None:
    for outer in ("", "optimizer/"):
        contents = {f"{outer}state/{number}/exp_avg": array for number, array in enumerate(TRAINED.values())}
        with pytest.raises(ReproError, match="holds the state of an optimizer and no weights; give the file of the"):
            read(tmp_path / "a.pth", contents)
