"""The recipes that are shipped with repro, which can be given by name in any folder."""

from __future__ import annotations

from pathlib import Path

import repro
from repro.errors import ReproError, unknown

PACKAGE = Path(repro.__file__).parent


def configs_folder() -> Path:
    """Return the folder of the shipped recipes: repro/configs of an installed wheel, or configs/ of a checkout."""
    installed = PACKAGE / "configs"  # copied there by setup.py
    return installed if installed.is_dir() else PACKAGE.parent / "configs"


def shipped_recipes() -> dict[str, Path]:
    """Return the paths of the shipped recipes by name, such as "resnet_cifar10"."""
    return {path.stem: path for path in sorted(configs_folder().glob("*.yaml"))}


def find_recipe(text: str) -> Path:
    """Return the path of a recipe: `text` is the path of a file or the name of a shipped recipe.

    Raises ReproError, with the most similar names, if it is neither.
    """
    path = Path(text)
    if path.exists() and not path.is_dir():
        return path
    recipes = shipped_recipes()
    if text in recipes:
        return recipes[text]
    raise ReproError(f"no such file: {text}; {unknown('recipe', path.stem, recipes)}")
