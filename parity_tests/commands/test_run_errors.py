"""`python -m repro.run`: mistakes and failures end in one line, and leave nothing half-written."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from parity_tests.support.image_folders import write_photos
from parity_tests.support.made_up import QUICK, SoftmaxRegression
from parity_tests.support.runs import assert_refused, stop_at
from repro.cli import run_command
from repro.data import open_dataset
from repro.errors import ReproError
from repro.run import main
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.formats import native_names, write_file
from repro.weights.init import initialise
from repro.weights.layouts import layout_named

pytestmark = pytest.mark.usefixtures("made_up_backend")

DIVERGED = (
    r"the loss became nan at step 3 of epoch 2, on \d{4}, \d{4}, \d{4}, ... \(all 256 in a/diverged.txt; "
    r"a/last/checkpoint.safetensors holds epoch 1\); start again with a smaller --lr"
)


def test_a_missing_viewer_is_reported_first(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "visualdl", None)
    assert_refused(
        main, [*QUICK, "--logs", "visualdl", "--out", "a"], "--logs visualdl needs visualdl .*install it with"
    )


def test_a_missing_framework_is_reported_before_data_and_weights_are_touched(monkeypatch) -> None:
    def touched(*args, **options):
        raise AssertionError("data or weights are read first")

    monkeypatch.setattr("repro.data.open_dataset", touched)
    monkeypatch.setattr("repro.training.initial_state.locate_weights", touched)
    monkeypatch.setitem(sys.modules, "paddle", None)
    flags = [*QUICK, "--backend", "paddle", "--weights", "torchvision:mobilenet_v2", "--out", "a"]
    assert_refused(main, flags, r"backend paddle cannot import its framework .*install it with: pip install -e")


@pytest.mark.parametrize("name", ["x" * 300, "locked/images"])
def test_an_inaccessible_path_is_one_line(name, monkeypatch, capsys) -> None:
    stat = os.stat

    def refuse(path, *args, **options):  # as a folder of another user does
        if str(path).startswith("locked"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(SystemExit) as end:
        run_command(lambda: main([*QUICK, "--data", name, "--out", "a"]))
    assert end.value.code == 1 and not Path("a").exists()
    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot use {name}: ") and error.endswith("; give another path\n")


def test_a_loss_of_nan_ends_the_run(monkeypatch) -> None:
    def spoil(trainer):
        trainer.arrays["classifier.bias"][0] = np.nan

    stop_at(monkeypatch, 8, spoil)
    with pytest.raises(ReproError, match=DIVERGED):
        main([*QUICK, "--out", "a"])
    assert all(np.isfinite(array).all() for array in safetensors_file.load("a/last/checkpoint.safetensors")[0].values())
    names = Path("a/diverged.txt").read_text().split()
    assert len(set(names)) == 256 and set(names) <= set(open_dataset("digits").train.names)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model", "asymnet_smal"], "unknown model 'asymnet_smal': did you mean asymmnet_small"),
        (["--backend", "troch"], "unknown backend 'troch': did you mean torch"),
        (["--option", "widht=2"], "unknown option of .* 'widht': did you mean width"),
        (["--option", "num_classes=3"], "the option num_classes follows from"),
        (["--option", "name=3"], "the option name follows from"),
        (["--option", "dropout=much"], "dropout must be at least 0 and below 1, not 'much'"),
        (["--model", "vgg16", "--image-size", "31"], "vgg16 takes images of at least 32 pixels, not 31"),
        (["--data", "nowhere"], "nowhere"),
        (["--data", "empty"], "empty"),
        (["--data", "broken"], "broken"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--config", "nowhere.yaml"], "no such file: nowhere.yaml; unknown recipe 'nowhere'"),
        (["--out", "full"], "full already exists; give another --out"),
        (["--out", "full/file"], "full/file already exists"),
        (["--out", "full/file/a"], "full/file/a"),
        (["--resume"], "give --out"),
        (["--resume", "--out", "full"], "full is not a run folder"),
        (["--resume", "--out", "nowhere"], "nowhere is not a run folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(argv, message) -> None:
    Path("empty").mkdir()
    write_photos("broken")
    Path("broken/a/1.png").write_bytes(b"no image")
    Path("full").mkdir()
    Path("full/file").touch()
    assert_refused(main, [*QUICK, *argv], message)


def test_weights_of_other_classes_are_refused() -> None:
    main([*QUICK, "--epochs", "1", "--out", "a"])
    write_photos("photos")
    assert_refused(
        main,
        [*QUICK, "--data", "photos", "--weights", "a/best.safetensors", "--out", "b"],
        "distinguishes 10 classes, but photos has 3",
    )


def test_weights_of_another_epsilon_are_refused() -> None:
    """timm's MobileNetV3 normalises with 1e-5, torchvision's and ours with 1e-3; the arrays do not show it."""
    spec = find_spec("mobilenet_v3_large", num_classes=10)
    published = layout_named("timm", spec).to_published(initialise(spec, 0), spec, native_names("torch"))
    write_file(Path("timm.pth"), published, {})
    arguments = [*QUICK, "--model", "mobilenet_v3_large", "--epochs", "1", "--weights", "timm.pth"]
    assert_refused(main, [*arguments, "--out", "a"], "a network with norm_eps=1e-05; add --option norm_eps=1e-05")
    main([*arguments, "--option", "norm_eps=1e-05", "--out", "b"])
    assert Path("b/summary.json").is_file()


def test_a_full_disk_leaves_no_folder() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # config.yaml fits, the weights do not
    try:
        assert_refused(main, [*QUICK, "--out", "a"], "cannot write a/last/checkpoint.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_validation_loss_of_nan_ends_the_run(monkeypatch) -> None:
    monkeypatch.setattr(SoftmaxRegression, "predict", lambda self, images: np.full((len(images), 10), np.nan))
    with pytest.raises(ReproError) as error:
        main([*QUICK, "--out", "a"])
    assert str(error.value).startswith("the validation loss became nan after the last step of epoch 1, on ")
    assert str(error.value).endswith(
        "(all 256 in a/diverged.txt; a/last/checkpoint.safetensors holds the weights it began with); "
        "start again with a smaller --lr"
    )
    assert len(Path("a/diverged.txt").read_text().splitlines()) == 256


def test_a_second_run_in_the_same_folder_is_refused(monkeypatch) -> None:
    """Both runs found the folder free before either created it."""
    main([*QUICK, "--epochs", "1", "--out", "a"])
    monkeypatch.setattr("repro.training.session.new_folder", lambda out, recipe: Path(out))
    assert_refused(main, [*QUICK, "--epochs", "1", "--seed", "1", "--out", "a"], "a already exists; give another --out")


@pytest.fixture(params=["backends/torch/__init__.py", "backends.py"])
def shadow(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder or file of a user that comes before the package `backends` on Python's path."""
    path = tmp_path / request.param
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if path.parent != tmp_path:
        (tmp_path / "backends/__init__.py").touch()
    return tmp_path / Path(request.param).parts[0]


def run_beside(shadow: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, *command], cwd=shadow.parent, env=environment, capture_output=True, text=True, check=False
    )


def test_a_module_that_shadows_the_backends_is_named(tmp_path, shadow) -> None:
    run = run_beside(shadow, "-m", "repro.run", *QUICK, "--epochs", "1", "--out", "a")
    assert run.returncode == 1 and not (tmp_path / "a").exists()
    assert run.stderr.startswith(
        f"error: backends.torch cannot be imported, because {shadow} shadows the package backends"
    )
    assert run.stderr.count("\n") == 1


def test_the_bench_names_a_module_that_shadows_the_backends(shadow) -> None:
    run = run_beside(shadow, "-m", "repro.bench", "step", "--backend", "torch")
    assert run.returncode == 1 and run.stderr.count("\n") == 1
    assert f"because {shadow} shadows the package backends" in run.stderr


def test_workers_import_the_backends_from_any_folder(tmp_path, shadow) -> None:
    """A worker starts in a folder of its own, so that nothing shadows the backends there."""
    code = "from pathlib import Path; from repro.workers.client import own_code; own_code(Path.cwd())"
    run = run_beside(shadow, "-c", code)
    assert (run.returncode, run.stderr) == (0, "")
    assert (tmp_path / "code/backends/torch/trainer.py").is_file()


def test_records_of_shadowed_backends_are_not_kept(shadow) -> None:
    run = run_beside(shadow, "-c", "from repro.parity.cache import code_digests; code_digests('backends.torch', 'vgg')")
    assert (run.returncode, run.stderr) == (0, "")
