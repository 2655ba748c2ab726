"""What a recipe says to the data, to the mixing of batches and to the trainer, in each of its epochs."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from repro.data import Mixing, Transform
from repro.errors import ReproError, unknown
from repro.interface import TrainSettings
from repro.specs import Spec, find_spec
from repro.training.recipe import GROWING, Recipe, convert
from repro.training.schedules import FALLING


def complete(recipe: Recipe, spec: Spec) -> Recipe:
    """The recipe with what follows from the model and the data: the image size, and a mean and std for each channel.

    Raises ReproError for values that do not go together.
    """
    for name in recipe.first_stage:
        if name not in GROWING:
            raise unknown("value of the first stage", name, GROWING)
    if bool(recipe.first_stage) != (recipe.stages > 1):
        raise ReproError(
            f"stages is {recipe.stages} and first_stage has {len(recipe.first_stage)} values; progressive learning has "
            "two stages or more, and values to begin with"
        )
    if recipe.stages > recipe.epochs:
        raise ReproError(f"stages is {recipe.stages} and epochs is {recipe.epochs}; a stage takes an epoch or more")
    if recipe.ema_warmup and recipe.ema_decay is None:
        raise ReproError("ema_warmup is for averages of the weights, and ema_decay is not given; leave it out")
    if recipe.lr_end and recipe.schedule not in FALLING:
        raise ReproError(
            f"lr_end is {recipe.lr_end:g}, and the schedule {recipe.schedule} does not heed it; leave it out, or take "
            f"one of {', '.join(FALLING)}"
        )
    if recipe.fresh_head and not recipe.weights:
        raise ReproError("fresh_head is for a network that --weights fills; leave it out")
    recipe = replace(
        recipe,
        image_size=recipe.image_size or (32 if recipe.data == "digits" else spec.input_size),
        mean=for_each(recipe.channels, recipe.mean),
        std=for_each(recipe.channels, recipe.std),
    )
    for name, first in recipe.first_stage.items():
        last = last_value(recipe, name)
        if name != "dropout":
            convert({name: first}, "first_stage")
        if not isinstance(first, (int, float)) or not 0 <= first <= last:
            raise ReproError(f"first_stage: {name} is {first!r}, and grows to {last:g}; give a number from 0 to that")
    for epoch in range(1, recipe.epochs + 1, max(1, recipe.epochs // recipe.stages)):
        now = at_epoch(recipe, epoch)
        spec_of(now, spec.num_classes).trace(transform(now).image_size)  # refuses what not every framework would
        mixing(now)
    settings(recipe).trained_shapes(spec)
    return recipe


def differences(asked: Recipe, made: Recipe) -> dict[str, tuple[Any, Any]]:
    """Where a recipe that was completed is another than the one asked for: what was asked, and what was made."""

    def completed(value: Any, name: str) -> bool:
        known = getattr(made, name)
        return (value is None and name == "image_size") or (isinstance(value, tuple) and value * len(known) == known)

    return {
        name: (value, getattr(made, name))
        for name, value in vars(asked).items()
        if value != getattr(made, name) and not completed(value, name)
    }


def for_each(channels: int, values: tuple[float, ...]) -> tuple[float, ...]:
    """One number is for every channel."""
    return values * channels if len(values) == 1 else values


def at_epoch(recipe: Recipe, epoch: int) -> Recipe:
    """The recipe as it is in an epoch, counted from 1: in progressive learning (Tan and Le, arXiv:2104.00298,
    section 4.2, algorithm 1), what grows has its first value in the first stage and the recipe's own in the last."""
    if recipe.stages == 1:
        return recipe
    stage = (epoch - 1) * recipe.stages // recipe.epochs
    values: dict[str, float] = {}
    for name, first in recipe.first_stage.items():
        values[name] = float(first) + (last_value(recipe, name) - float(first)) * stage / (recipe.stages - 1)
    if "image_size" in values:
        values["image_size"] = round(values["image_size"])
    options = dict(recipe.options)
    if "dropout" in values:
        options["dropout"] = values.pop("dropout")
    return replace(recipe, options=options, **values)  # type: ignore[arg-type]


def last_value(recipe: Recipe, name: str) -> float:
    """Of what grows, in the last stage."""
    return spec_of(recipe, 1000).dropout if name == "dropout" else getattr(recipe, name)


def spec_of(recipe: Recipe, classes: int) -> Spec:
    """The network. Raises ReproError for an unknown name or option."""
    for option in {"name", "num_classes", "in_channels"} & recipe.options.keys():
        raise ReproError(f"the option {option} follows from the model's name and the data; leave it out")
    return find_spec(recipe.model, **recipe.options, num_classes=classes, in_channels=recipe.channels)


def transform(recipe: Recipe) -> Transform:
    """Of a complete recipe, whose fields have the names of Transform's."""
    return Transform(**{item.name: getattr(recipe, item.name) for item in fields(Transform)})


def mixing(recipe: Recipe) -> Mixing | None:
    if not recipe.mixup and not recipe.cutmix:
        return None
    return Mixing(
        mixup=recipe.mixup,
        cutmix=recipe.cutmix,
        probability=recipe.mix_probability,
        switch=recipe.mix_switch,
        mode=recipe.mix_mode,
    )


def settings(recipe: Recipe) -> TrainSettings:
    """A recipe's fields have the names of those of TrainSettings, of which it leaves some out."""
    names = {item.name for item in fields(TrainSettings)} & {item.name for item in fields(Recipe)}
    given = {name: getattr(recipe, name) for name in names}
    return TrainSettings(**given | {"train_only": recipe.train_only or ""})
