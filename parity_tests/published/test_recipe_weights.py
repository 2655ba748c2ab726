"""The shipped recipes that name published weights start from them, or the error explains how to go on without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repro.errors import ReproError
from repro.published import lookup
from repro.published.entry import cache_folder, snapshots_folder
from repro.published.lookup import find_in_table
from repro.specs import find_spec
from repro.training.initial_state import initial_weights
from repro.training.recipe_sources import build_recipe, parse_values, read_recipe_file
from repro.training.shipped_recipes import shipped_recipes
from repro.weights.init import random_weights
from repro.weights.porting import Checkpoint, write_checkpoint

RECIPES = {
    name: values for name, path in shipped_recipes().items() if (values := read_recipe_file(path)).get("weights")
}
FLAGS = {"backend": "torch", "data": "photos"}


def test_the_recipes_that_start_from_published_weights_name_them() -> None:
    assert {name: values["weights"] for name, values in RECIPES.items()} == {
        "mobilenet_v2_flowers": "torchvision:mobilenet_v2.IMAGENET1K_V1",
        "rdnet_seedlings": "timm:rdnet_tiny.nv_in1k",
        "shufflenet_flowers": "torchvision:shufflenet_v2_x1_0.IMAGENET1K_V1",
    }


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_starts_from_the_file_in_the_cache(
    name: str, empty_caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is made up, so that its hash is not compared. Only the classifier is initialised freshly."""
    entry = replace(find_in_table(RECIPES[name]["weights"]), sha256="", size=None)
    monkeypatch.setattr(lookup, "table", lambda: (entry,))
    path = (snapshots_folder(entry) / "main" if entry.hub else cache_folder(entry.publisher)) / entry.file
    path.parent.mkdir(parents=True)
    spec = find_spec(entry.variant)
    weights = random_weights(spec, 1)
    write_checkpoint(path, Checkpoint(spec, weights), to=entry.publisher)
    recipe = build_recipe(RECIPES[name], FLAGS)
    initial = initial_weights(recipe, find_spec(recipe.model, **recipe.options, num_classes=5))
    fresh = {spec.classifier, spec.classifier.replace("weight", "bias")}
    assert {key for key, array in initial.items() if not np.array_equal(array, weights[key])} == fresh
    assert initial[spec.classifier].shape[0] == 5


@pytest.mark.parametrize("name", RECIPES)
def test_without_the_file_the_error_says_how_to_go_on(
    name: str, empty_caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is a closed port. The place that the error names is where the recipe then finds the file."""
    monkeypatch.setattr("repro.published.download.PAUSE", 0.0)
    monkeypatch.setattr(lookup, "ask_package", lambda publisher, models: None)
    entry = find_in_table(RECIPES[name]["weights"])
    entry = replace(entry, url="http://127.0.0.1:9/weights.pth" if entry.url else "")
    monkeypatch.setattr(lookup, "table", lambda: (entry,))
    if entry.hub:

        def fail(repository: str, file: str) -> str:
            raise OSError("no network")

        monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    recipe = build_recipe(RECIPES[name], FLAGS)
    with pytest.raises(
        ReproError, match=r"cannot download .* and place it at .*; --weights none starts from"
    ) as caught:
        initial_weights(recipe, find_spec(recipe.model, num_classes=5))
    assert "\n" not in str(caught.value)
    place = Path(str(caught.value).partition(" place it at ")[2].partition(";")[0])
    assert entry.cached is None
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    assert entry.cached == place


@pytest.mark.parametrize("name", RECIPES)
def test_none_starts_from_fresh_weights(name: str) -> None:
    recipe = build_recipe(RECIPES[name], FLAGS | parse_values({"weights": "none"}))
    assert (recipe.weights, recipe.fresh_head) == (None, False)
    assert (
        build_recipe({"ema_decay": 0.9, "model": "vgg16"}, FLAGS | parse_values({"ema_decay": "none"})).ema_decay
        is None
    )
    with pytest.raises(ReproError, match="--lr must be a number"):
        parse_values({"lr": "none"})


@pytest.mark.slow
def test_the_weights_of_another_model_can_be_left_out() -> None:
    recipe = build_recipe(RECIPES["shufflenet_flowers"], FLAGS | {"model": "vgg16"})
    with pytest.raises(
        ReproError, match=r"is shufflenet_v2_x1_0_torchvision, not vgg16.*--weights none starts from fresh"
    ):
        initial_weights(recipe, find_spec("vgg16"))
