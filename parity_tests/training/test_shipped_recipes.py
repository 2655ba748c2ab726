"""Shipped recipes can be given by name, in a checkout and in an installed wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from repro.errors import ReproError
from repro.training.shipped_recipes import find_recipe, shipped_recipes

ROOT = Path(__file__).parents[2]


def test_recipes_can_be_given_by_name_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("resnet_cifar10") == ROOT / "configs/resnet_cifar10.yaml"
    assert list(shipped_recipes()) == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))


def test_a_file_has_priority_over_a_name_and_a_folder_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("resnet_cifar10").mkdir()
    assert find_recipe("resnet_cifar10") == ROOT / "configs/resnet_cifar10.yaml"
    Path("rdnet_imagenet").touch()
    assert find_recipe("rdnet_imagenet") == Path("rdnet_imagenet")


@pytest.mark.parametrize("text", ["resnet_cifar", "nowhere/resnet_cifar.yaml"])
def test_an_unknown_recipe_is_reported_with_similar_names(text: str) -> None:
    with pytest.raises(ReproError, match=f"^no such file: {text}; unknown recipe 'resnet_cifar': .* resnet_cifar10 or"):
        find_recipe(text)


def test_a_wheel_contains_the_recipes(tmp_path: Path) -> None:
    """The files of a wheel include all recipes, and a recipe is read from them by name, in another folder."""
    library, elsewhere = tmp_path / "library", tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = ["-q", "egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib", str(library)]
    subprocess.run([sys.executable, "setup.py", *arguments], cwd=ROOT, check=True, capture_output=True)
    configs = library / "repro/configs"
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert (configs / path.relative_to(ROOT / "configs")).read_bytes() == path.read_bytes()
    command = [sys.executable, "-m", "repro.run", "--backend", "torch", "--config", "resnet_cifar10", "--data", "none"]
    environment = os.environ | {"PYTHONPATH": str(library)}
    run = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("error: no such folder: none; "), run.stderr  # so the recipe was read
