"""The network, image preparation, mixing and trainer settings that follow from a recipe in each epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from repro.data import Mixing
from repro.errors import ReproError
from repro.training import resolve
from repro.training.recipe import Recipe
from repro.training.recipe_sources import build_recipe, read_recipe_file

CONFIGS = sorted(Path(__file__).parents[2].joinpath("configs").glob("*.yaml"))
DEFAULT = Recipe(backend="torch", model="efficientnet_v2_b0", epochs=6)
PROGRESSIVE = replace(
    DEFAULT, options={"drop_path": 0.1}, image_size=64, magnitude=8.0, mixup=0.4, stages=3,
    first_stage={"image_size": 32, "magnitude": 2, "mixup": 0, "dropout": 0.1},
)  # fmt: skip


def completed(recipe: Recipe) -> Recipe:
    return resolve.complete_recipe(recipe, resolve.build_spec(recipe, 10))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_recipe_is_complete(path: Path) -> None:
    assert len(CONFIGS) == 11
    recipe = completed(build_recipe(read_recipe_file(path), {"backend": "torch"}))
    assert resolve.build_transform(recipe).channels == len(recipe.mean)
    assert completed(recipe) == recipe
    assert f"--config configs/{path.name}" in path.read_text()


def test_values_grow_evenly_from_the_first_stage_to_the_recipe() -> None:
    stages = [resolve.recipe_at_epoch(completed(PROGRESSIVE), epoch) for epoch in range(1, 7)]
    assert [stage.image_size for stage in stages] == [32, 32, 48, 48, 64, 64]
    assert [stage.magnitude for stage in stages] == pytest.approx([2, 2, 5, 5, 8, 8])
    dropout = [stage.options["dropout"] for stage in stages]
    assert dropout == pytest.approx([0.1, 0.1, 0.15, 0.15, 0.2, 0.2])  # 0.2 is the dropout rate of the variant
    assert all(stage.options["drop_path"] == 0.1 for stage in stages)
    mixings = [resolve.build_mixing(stage) for stage in stages]
    assert mixings[:2] == [None, None] and mixings[2:] == [Mixing(mixup=alpha) for alpha in (0.2, 0.2, 0.4, 0.4)]
    assert resolve.recipe_at_epoch(DEFAULT, 3) is DEFAULT


def test_all_weights_are_trained_after_the_epochs_of_train_only() -> None:
    recipe = replace(DEFAULT, train_only="classifier", train_only_epochs=4)
    prefixes = [resolve.train_settings(resolve.recipe_at_epoch(recipe, epoch)).train_only for epoch in range(1, 7)]
    assert prefixes == ["classifier"] * 4 + [""] * 2
    forever = replace(recipe, train_only_epochs=None)
    assert all(resolve.recipe_at_epoch(forever, epoch) is forever for epoch in range(1, 7))
    staged = resolve.recipe_at_epoch(replace(completed(PROGRESSIVE), train_only="stem", train_only_epochs=1), 2)
    assert (staged.train_only, staged.image_size) == (None, 32)


def test_one_number_applies_to_every_channel() -> None:
    recipe = completed(replace(DEFAULT, mean=(0.2,), std=(0.3,)))
    assert (recipe.mean, recipe.std) == ((0.2,) * 3, (0.3,) * 3)
    grey = completed(replace(DEFAULT, channels=1))
    assert grey.mean == (0.5,)
    assert resolve.build_spec(grey, 10).in_channels == resolve.build_transform(grey).channels == 1


def test_betas_reach_the_trainer() -> None:
    assert resolve.train_settings(DEFAULT).betas == (0.9, 0.999)
    assert resolve.train_settings(replace(DEFAULT, optimizer="adam", betas=(0.5, 0.9))).betas == (0.5, 0.9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_stage": {"image_sise": 32}, "stages": 2}, "'image_sise': did you mean image_size"),
        ({"first_stage": {"image_size": "small"}, "stages": 2}, "image_size must be a whole number from 1 to"),
        (
            {"first_stage": {"image_size": 65}, "stages": 2, "image_size": 64},
            "image_size is 65, but it grows to 64; give",
        ),
        ({"first_stage": {"dropout": 0.3}, "stages": 2}, "dropout is 0.3, but it grows to 0.2; give a number from 0"),
        ({"first_stage": {"dropout": "x"}, "stages": 2}, "dropout is 'x', but it grows to 0.2"),
        ({"first_stage": {"mixup": float("nan")}, "stages": 2}, "mixup must be a number from 0"),
        (
            {"first_stage": {"image_size": 32}, "stages": 7},
            "stages is 7, but epochs is 6; a stage has at least one epoch",
        ),
        ({"ema_warmup": True}, "ema_warmup needs an EMA of the weights; give ema_decay, too"),
        ({"lr_end": 0.1, "schedule": "step"}, "lr_end is 0.1, but the schedule step does not use it"),
        ({"first_stage": {"image_size": 32}}, "stages is 1 and first_stage has 1 values"),
        ({"stages": 2}, "stages is 2 and first_stage has 0 values"),
        ({"first_stage": {"image_size": 0}, "stages": 2}, "image_size must be a whole number from 1 to"),
        ({"first_stage": {"magnitude": 11}, "stages": 2, "rand_augment": 1}, "magnitude must be a number from 0 to 10"),
        ({"train_only_epochs": 2}, "train_only_epochs has no effect without train_only; leave it out, or give --train"),
        (
            {"train_only": "classifier", "train_only_epochs": 6},
            "train_only_epochs is 6, but epochs is 6, so that the other weights would never be trained; give more",
        ),
        ({"fresh_head": True}, "fresh_head has no effect without weights"),
        (
            {"train_only": "classifer"},
            "no weight of efficientnet_v2_b0 starts with it.*such as classifier",
        ),
        ({"channels": 1, "mean": (0.1, 0.2, 0.3)}, "mean and std must be one number each"),
        ({"channels": 2}, "channels must be 3"),
        ({"nesterov": True, "optimizer": "adam"}, "nesterov is set with optimizer adam"),
    ],
)
def test_inconsistent_values_are_reported_in_one_line(changes: dict, message: str) -> None:
    with pytest.raises(ReproError, match=message) as error:
        completed(replace(DEFAULT, **changes))
    assert "\n" not in str(error.value)
