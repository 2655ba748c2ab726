"""The articles whose recipes are reproduced: what they claim, and how their data differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from repro.files import read_yaml
from repro.training.shipped_recipes import configs_folder, shipped_recipes

LARGEST_FILE = 1 << 16  # bytes


@dataclass(frozen=True)
class Article:
    """One section of REPRODUCTION.md."""

    title: str
    page: str  # page of the model family: docs/PAGE.md
    claim: str  # the result that the article reports
    difference: str  # why the results may differ, apart from the values in the table


def read_articles() -> dict[str, Article]:
    """Return the articles under the names of their recipes, in the order of the page."""
    path = configs_folder() / "reproduction/articles.yaml"
    articles = read_yaml(path, "list of articles", "install repro again", LARGEST_FILE)
    return {name: Article(**texts) for name, texts in articles.items()}


def recipe_path(name: str) -> Path:
    """Return the path of an article's recipe."""
    return shipped_recipes()[name]
