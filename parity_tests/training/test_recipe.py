"""Recipes: keys, flags, types and ranges of values, and files that are not recipes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest

from repro.choices import RANGES
from repro.errors import ReproError
from repro.training.recipe import FIELDS, flag_of
from repro.training.recipe_sources import add_flags, build_recipe, parse_values, read_recipe_file, to_yaml

REQUIRED = {"backend": "torch", "model": "asymmnet_small"}
CONFIGS = Path(__file__).parents[2] / "configs"


def flags(*argv: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parse_values(vars(parser.parse_args(argv)))


def write_recipe(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_field_has_a_flag_and_survives_a_file(tmp_path: Path) -> None:
    changed = flags(
        "--backend", "paddle", "--model", "asymmnet_large", "--option", "width=0.5", "--option", "asymmrate=2",
        "--weights", "w.safetensors", "--fresh-head", "true", "--train-only", "classifier", "--train-only-epochs", "2",
        "--data", "photos", "--split", "0.25", "--balance", "loss", "--channels", "1", "--image-size", "64",
        "--resize", "crop", "--crop-fraction", "0.9", "--interpolation", "bicubic", "--decode", "fast",
        "--mean", "0.1", "0.2", "0.3", "--std", "1", "0.2", "0.3", "--pad", "4", "--rotation", "5", "--flip", "0.5",
        "--jitter", "0.4", "--rand-augment", "2", "--magnitude", "5", "--cutout", "0.5", "--mixup", "0.8",
        "--cutmix", "1", "--mix-probability", "0.1", "--mix-switch", "0.3", "--mix-mode", "pair",
        "--batch-size", "8", "--sync-norm", "true", "--accumulate", "2", "--deterministic-shards", "4",
        "--epochs", "3", "--patience", "2", "--stages", "2", "--first-stage", "image_size=32",
        "--optimizer", "adam", "--lr", "1e-3", "--schedule", "constant", "--lr-end", "0.01", "--warmup", "1",
        "--momentum", "0", "--nesterov", "true", "--betas", "0.8", "0.99", "--alpha", "0.9", "--eps", "1e-3",
        "--weight-decay", "1e-5",
        "--spare-bias-and-norm", "true",
        "--clip-norm", "1", "--label-smoothing", "0.1", "--ema-decay", "0.99", "--ema-warmup", "true",
        "--precision", "float16", "--compiled", "true", "--device", "gpu", "--seed", "7",
        "--workers", "2", "--threads", "3",
        "--check", "first-epoch", "--checkpoint-steps", "100", "--checkpoint-minutes", "5", "--hang-seconds", "60",
            "--keep", "2",
        "--logs", "tensorboard",
    )  # fmt: skip
    assert list(changed) == list(FIELDS)
    recipe = build_recipe({}, changed)
    assert (recipe.options, recipe.mean, recipe.lr, recipe.split, recipe.betas) == (
        {"width": 0.5, "asymmrate": 2}, (0.1, 0.2, 0.3), 0.001, 0.25, (0.8, 0.99),
    )  # fmt: skip
    default = build_recipe({}, REQUIRED)
    assert all(getattr(recipe, name) != getattr(default, name) for name in changed if name not in REQUIRED)
    path = write_recipe(tmp_path, to_yaml(recipe))
    assert build_recipe(read_recipe_file(path), {}) == recipe


def test_flags_have_priority_and_options_are_merged(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, "lr: 1e-2\nepochs: 5\noptions: {width: 0.5, dropout: 0.1}\n")
    changes = flags("--lr", "0.2", "--option", "width=2", "--backend", "b", "--model", "m")
    recipe = build_recipe(read_recipe_file(path), changes)
    assert (recipe.lr, recipe.epochs, recipe.options) == (0.2, 5, {"width": 2, "dropout": 0.1})


def test_options_are_numbers_if_they_parse_as_numbers_and_text_otherwise(tmp_path: Path) -> None:
    expected = {"depth": 164, "width": 0.5, "dropout": 1e-4, "block": "bottleneck"}
    argv = [argument for key, value in expected.items() for argument in ("--option", f"{key}={value}")]
    path = write_recipe(tmp_path, "options: {depth: 164, width: 0.5, dropout: 1e-4, block: bottleneck}")
    stored = read_recipe_file(path)
    for options in (stored["options"], flags(*argv)["options"]):
        assert options == expected
        assert list(map(type, options.values())) == [int, float, float, str]
    recipe = build_recipe(REQUIRED, stored)
    path = write_recipe(tmp_path, to_yaml(recipe))
    assert build_recipe(read_recipe_file(path), {}) == recipe


def test_flags_have_priority_over_single_values_of_the_first_stage() -> None:
    values = {"first_stage": {"image_size": 32, "magnitude": 1}, "model": "vgg16", "backend": "torch"}
    recipe = build_recipe(values, {"first_stage": {"image_size": 24}})
    assert recipe.first_stage == {"image_size": 24, "magnitude": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize: 3", "unknown key in .*'batchsize': did you mean batch_size"),
        ("[1, 2]: 3", "is not YAML"),
        ("3: 3", "unknown key"),
        ("lr: fast", "lr must be a number above 0 and up to 1000, not 'fast'"),
        ("lr: 0", "lr must be a number above 0"),
        ("lr: .nan", "lr must be"),
        ("lr: .inf", "lr must be"),
        ("lr: true", "lr must be"),
        ("lr:", "lr must be"),
        ("epochs: 2.5", "epochs must be a whole number from 1"),
        ("epochs: 0", "epochs must be"),
        ("epochs: " + "9" * 5000, "epochs must be|is not YAML"),
        ("batch_size: 1", "batch_size must be a whole number from 2"),
        ("mean: [0.5, 0.5]", "mean must be one number or three, each a number from 0 to 1"),
        ("std: [1, 1, 0]", "std must be one number or three, each a number above 0"),
        ("channels: 2", "channels must be 3 or 1, not 2"),
        ("channels: 3.0", "channels must be 3 or 1"),
        ("betas: 0.9", "betas must be two numbers, each a number from 0 to 0.999999, not 0.9"),
        ("betas: [0.9]", "betas must be two numbers"),
        ("betas: [0.9, 0.99, 0.999]", "betas must be two numbers"),
        ("betas: [0.9, 1]", "betas must be two numbers"),
        ("image_size: 4097", "image_size must be a whole number from 1 to 4096, not 4097"),
        ("schedule: cosin", "schedule must be one of cosine, .*, constant, not 'cosin'"),
        ("split: half", "split must be every-fifth or a fraction"),
        ("model: 3", "model must be text"),
        ("options: 3", "options must be names with a number or text each"),
        ("options: {width: [1]}", "options must be names"),
        ("options: {width: }", "options must be names"),
        ("options: {width: ''}", "options must be names"),
        ("options: {width: true}", "options must be names"),
        ("lr: 1\nlr: 2", "lr occurs twice"),
        ("options: {width: 1, width: 2}", "width occurs twice"),
        ("just text", "is not a recipe"),
        ("", "is not a recipe"),
        ("lr: [", "line 1 is not YAML"),
        ("[" * 20_000, "is not YAML"),
        ("lr: !!python/object/apply:os.getcwd []", "is not YAML"),
        (b"lr: \xff", "is not YAML"),
        ("#" * 70_000, "larger than"),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = write_recipe(tmp_path, text)
    with pytest.raises(ReproError, match=message) as error:
        read_recipe_file(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 400


def test_a_missing_file_is_reported() -> None:
    with pytest.raises(ReproError, match=r"cannot read the recipe nowhere\.yaml: No such file"):
        read_recipe_file("nowhere.yaml")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--batch-size", "many"), "--batch-size must be a whole number from 2 to 65536, not 'many'"),
        (("--option", "width"), "--option must be"),
        (("--split", "1.5"), "--split must be"),
    ],
)
def test_an_invalid_flag_is_named_as_it_was_typed(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(ReproError, match=message):
        flags(*argv)


def test_the_model_is_required() -> None:
    with pytest.raises(ReproError, match="--model is required"):
        build_recipe({"backend": "torch"}, {})


def test_the_recipe_of_the_asymmnet_article_has_its_values() -> None:
    values = read_recipe_file(CONFIGS / "asymmnet_caltech16.yaml")
    recipe = build_recipe(values, {"backend": "paddle"})
    assert (recipe.image_size, recipe.rotation, recipe.batch_size, recipe.epochs) == (256, 10, 32, 100)
    assert (recipe.lr, recipe.momentum, recipe.weight_decay, recipe.flip) == (0.01, 0.9, 2e-4, 0)


@pytest.mark.parametrize("name", RANGES)
def test_values_have_the_ranges_of_repro_choices(name: str) -> None:
    interval = RANGES[name]
    for value in (interval.low - 1, interval.high + 1, *[interval.low] * interval.above):
        repeated = [value, value] if name == "betas" else value
        with pytest.raises(ReproError, match=f"^{flag_of(name)} must be"):
            parse_values({name: repeated})
    accepted = [interval.high, interval.high] if name == "betas" else interval.high
    parsed = parse_values({name: accepted})[name]
    assert parsed in (interval.high, (interval.high,), (interval.high, interval.high))
