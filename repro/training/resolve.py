"""The objects that a recipe describes: network, image preparation, mixing of batches and trainer settings."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from repro.data import Mixing, Transform
from repro.errors import ReproError, unknown
from repro.interface import TrainSettings
from repro.specs import Spec, find_spec
from repro.training.recipe import GROWING, Recipe
from repro.training.recipe_sources import parse_values
from repro.training.schedules import SCHEDULES_WITH_END

DIGITS_SIZE = 32
"""Default image size for the embedded digits, which have 8 x 8 pixels."""


def complete_recipe(recipe: Recipe, spec: Spec) -> Recipe:
    """Return the recipe with the values that follow from model and data: image size, and mean and std per channel.

    Raises ReproError for values that exclude each other.
    """
    _check_consistency(recipe)
    recipe = replace(
        recipe,
        image_size=recipe.image_size or (DIGITS_SIZE if recipe.data == "digits" else spec.input_size),
        mean=values_per_channel(recipe.mean, recipe.channels),
        std=values_per_channel(recipe.std, recipe.channels),
    )
    for name, initial in recipe.first_stage.items():
        final = _final_value(recipe, name)
        if name != "dropout":
            parse_values({name: initial}, "first_stage")
        if not isinstance(initial, (int, float)) or not 0 <= initial <= final:
            raise ReproError(
                f"first_stage: {name} is {initial!r}, but it grows to {final:g}; give a number from 0 to {final:g}"
            )
    for epoch in range(1, recipe.epochs + 1, max(1, recipe.epochs // recipe.stages)):
        current = recipe_at_epoch(recipe, epoch)
        # trace raises ReproError for an image size that is too small, which some frameworks accept
        build_spec(current, spec.num_classes).trace(build_transform(current).image_size)
        build_mixing(current)
    train_settings(recipe).trained_shapes(spec)
    return recipe


def _check_consistency(recipe: Recipe) -> None:
    for name in recipe.first_stage:
        if name not in GROWING:
            raise unknown("value of the first stage", name, GROWING)
    if bool(recipe.first_stage) != (recipe.stages > 1):
        raise ReproError(
            f"stages is {recipe.stages} and first_stage has {len(recipe.first_stage)} values; progressive learning "
            "needs at least two stages and one initial value"
        )
    if recipe.stages > recipe.epochs:
        raise ReproError(f"stages is {recipe.stages}, but epochs is {recipe.epochs}; a stage has at least one epoch")
    if recipe.ema_warmup and recipe.ema_decay is None:
        raise ReproError("ema_warmup needs an EMA of the weights; give ema_decay, too, or leave ema_warmup out")
    if recipe.lr_end and recipe.schedule not in SCHEDULES_WITH_END:
        raise ReproError(
            f"lr_end is {recipe.lr_end:g}, but the schedule {recipe.schedule} does not use it; leave it out, or choose "
            f"one of {', '.join(SCHEDULES_WITH_END)}"
        )
    if recipe.train_only_epochs is not None:
        if not recipe.train_only:
            raise ReproError("train_only_epochs has no effect without train_only; leave it out, or give --train-only")
        if recipe.train_only_epochs >= recipe.epochs:
            raise ReproError(
                f"train_only_epochs is {recipe.train_only_epochs}, but epochs is {recipe.epochs}, so that the other "
                "weights would never be trained; give more epochs, or leave train_only_epochs out"
            )
    if recipe.fresh_head and not recipe.weights:
        raise ReproError("fresh_head has no effect without weights; leave it out, or give --weights")


def recipe_differences(requested: Recipe, completed: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the values in which a completed recipe differs from the requested one, as (requested, completed) by key.

    Values that complete_recipe or the training session filled in do not count.
    """

    def is_filled_in(value: Any, name: str) -> bool:
        final = getattr(completed, name)
        if name in ("image_size", "threads"):
            return value is None
        return name in ("mean", "std") and values_per_channel(value, len(final)) == final

    return {
        name: (value, getattr(completed, name))
        for name, value in vars(requested).items()
        if value != getattr(completed, name) and not is_filled_in(value, name)
    }


def values_per_channel(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Return one value for each channel: a single value is repeated."""
    return values * channels if len(values) == 1 else values


def recipe_at_epoch(recipe: Recipe, epoch: int) -> Recipe:
    """Return the recipe as it is in an epoch, counted from 1.

    In progressive learning (Tan and Le, arXiv:2104.00298, section 4.2, algorithm 1), the values of first_stage grow
    evenly from stage to stage, up to those of the recipe in the last stage. After train_only_epochs, all weights are
    trained.
    """
    if recipe.train_only_epochs is not None and epoch > recipe.train_only_epochs:
        recipe = replace(recipe, train_only=None, train_only_epochs=None)
    if recipe.stages == 1:
        return recipe
    stage = (epoch - 1) * recipe.stages // recipe.epochs
    values: dict[str, float] = {}
    for name, initial in recipe.first_stage.items():
        values[name] = float(initial) + (_final_value(recipe, name) - float(initial)) * stage / (recipe.stages - 1)
    if "image_size" in values:
        values["image_size"] = round(values["image_size"])
    options = dict(recipe.options)
    if "dropout" in values:
        options["dropout"] = values.pop("dropout")
    return replace(recipe, options=options, **values)  # type: ignore[arg-type]


def _final_value(recipe: Recipe, name: str) -> float:
    """Return the value in the last stage of one of GROWING."""
    return build_spec(recipe, 1000).dropout if name == "dropout" else getattr(recipe, name)


def build_spec(recipe: Recipe, num_classes: int) -> Spec:
    """Return the network. Raises ReproError for an unknown model or option."""
    for option in {"name", "num_classes", "in_channels"} & recipe.options.keys():
        raise ReproError(f"the option {option} follows from the model's name and the data; leave it out")
    return find_spec(recipe.model, **recipe.options, num_classes=num_classes, in_channels=recipe.channels)


def build_transform(recipe: Recipe) -> Transform:
    """Return the image preparation of a complete recipe, whose keys are the names of Transform's fields."""
    return Transform(**{item.name: getattr(recipe, item.name) for item in fields(Transform)})


def build_mixing(recipe: Recipe) -> Mixing | None:
    """Return the mixing of training batches, or None if both mixup and CutMix are off."""
    if not recipe.mixup and not recipe.cutmix:
        return None
    return Mixing(
        mixup=recipe.mixup,
        cutmix=recipe.cutmix,
        probability=recipe.mix_probability,
        switch=recipe.mix_switch,
        mode=recipe.mix_mode,
    )


def train_settings(recipe: Recipe, world_size: int = 1) -> TrainSettings:
    """Return the settings of the trainer, from the keys that are also names of its fields."""
    names = {item.name for item in fields(TrainSettings)} & {item.name for item in fields(Recipe)}
    values = {name: getattr(recipe, name) for name in names}
    return TrainSettings(**values | {"train_only": recipe.train_only or "", "world_size": world_size})
