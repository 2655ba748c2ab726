"""REPRODUCTION.md: the results of the articles' recipes on each backend, with the claims of the articles."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repro.errors import ReproError
from repro.evaluation.articles import Article, read_articles, recipe_path
from repro.files import write_text
from repro.interface.discovery import SHIPPED
from repro.plots.curves import draw_runs
from repro.training.recipe import Recipe
from repro.training.recipe_sources import build_recipe, read_recipe_file, to_yaml
from repro.training.resolve import recipe_differences
from repro.training.run_folder import CONFIG, METRICS_FILE, FinishedRun, TrainingProgress, read_recipe

SUMMARY = "summary.json"
SUMMARY_KEYS = ("framework_version", "dataset", "train_images", "val_images", "epochs", "best_val_top1", "seconds")

HEAD = """# Results of the articles' recipes

Written by `python -m repro.reproduction` from the runs in [docs/runs](docs/runs). Each of them was trained with

    python -m repro.run --backend BACKEND --config configs/NAME.yaml --data DATA ...

on 2 CPU cores of a shared machine, next to other work, so the minutes of two rows do not compare the frameworks. All
backends receive bit-identical batches. Rounding differs between frameworks, and training amplifies it: the results of
the same network differ by some percentage points, as they do between seeds. Top-1 is the validation accuracy of the
best epoch.
"""


@dataclass(frozen=True)
class StoredRun:
    """A run as the repository stores it: recipe, metrics and summary, without weights."""

    run: FinishedRun
    summary: Mapping[str, Any]

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.run.recipe

    @property
    def order(self) -> tuple[str, int, str]:
        """The sort key: by model, then by backend, the shipped ones first."""
        backends = list(SHIPPED)
        backend = self.recipe.backend
        return self.recipe.model, backends.index(backend) if backend in backends else len(backends), backend


def store_run(name: str, run: Path, store: Path) -> None:
    """Copy the small files of a run folder to STORE/NAME/BACKEND-MODEL.

    Only the last part of the path of the data set is stored.
    """
    recipe = read_recipe(run)
    folder = store / name / f"{recipe.backend}-{recipe.model}"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, to_yaml(replace(recipe, data=Path(recipe.data).name)))
    for file in (METRICS_FILE, SUMMARY):
        write_text(folder / file, (run / file).read_text())


def write_page(store: Path, out: Path) -> int:
    """Write the page, and the curves of each article's runs as STORE/NAME/curves.png; return the number of runs.

    Raises ReproError for a stored run with missing or damaged files.
    """
    sections, count = [HEAD], 0
    for name, article in read_articles().items():
        runs = sorted(map(_read_run, (store / name).glob("*/")), key=lambda run: run.order)
        count += len(runs)
        sections.append(f"## {article.title}\n")
        sections.append(
            f"[configs/{name}.yaml](configs/{name}.yaml), [docs/{article.page}.md](docs/{article.page}.md)\n"
        )
        sections.append(f"The article's claim: {article.claim}\n")
        sections += _results(name, article, runs, store / name / "curves.png") if runs else ["Not run yet.\n"]
    write_text(out, "\n".join(sections))
    return count


def _read_run(folder: Path) -> StoredRun:
    try:
        history = [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
        summary = json.loads((folder / SUMMARY).read_text())
        complete = (
            bool(history)
            and all({"val_top1", "train_top1"} <= row.keys() for row in history)
            and set(SUMMARY_KEYS) <= summary.keys()
        )
    except (OSError, ValueError, AttributeError) as error:
        raise ReproError(f"{folder} is not a stored run ({error!r}); delete it, and store the run again") from error
    if not complete:
        raise ReproError(f"{folder} is not a stored run (values are missing); delete it, and store the run again")
    return StoredRun(FinishedRun(folder, read_recipe(folder), TrainingProgress("", history)), summary)


def _results(name: str, article: Article, runs: Sequence[StoredRun], picture: Path) -> list[str]:
    """Return the part of a section about its runs, and draw their curves."""
    values = read_recipe_file(recipe_path(name))
    draw_runs([(stored.run.path.name, stored.run.progress.history) for stored in runs], picture)
    changes = _changes(values, [stored.recipe for stored in runs])
    return [
        *_table(runs, values.get("options", {})),
        "",
        f"Differences from the recipe: {changes}. {article.difference}\n",
        f"![Loss and accuracy](<{picture.as_posix()}>)\n",
    ]


def _table(runs: Iterable[StoredRun], options: Mapping[str, Any]) -> list[str]:
    """Return the table of results; options: those of the article's recipe, which are not repeated in each row."""
    lines = [
        "| network | backend | data: images for training + validation | image size | epochs | top-1 | training top-1 "
        "| minutes |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for stored in runs:
        recipe, summary = stored.recipe, stored.summary
        changed_options = [
            f", {option}={value}" for option, value in recipe.options.items() if options.get(option) != value
        ]
        cells = [
            recipe.model + "".join(changed_options),
            f"{recipe.backend} {summary['framework_version']}",
            f"{summary['dataset']}: {summary['train_images']:,} + {summary['val_images']:,}",
            f"{recipe.image_size}",
            f"{summary['epochs']}",
            f"{summary['best_val_top1']:.2%}",
            f"{stored.run.progress.best['train_top1']:.2%}",
            f"{summary['seconds'] / 60:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _changes(values: Mapping[str, Any], run_recipes: Sequence[Recipe]) -> str:
    """Return a phrase about the recipe values that flags have changed in at least one of the runs.

    values: those of the article's recipe.
    """
    models = {recipe.model: None for recipe in run_recipes}
    article_texts: dict[str, str] = {}  # key -> the article's value
    run_texts: dict[str, dict[str, None]] = {}  # key -> the runs' values, in their order and without duplicates
    if values["model"] not in models:
        article_texts["model"], run_texts["model"] = values["model"], models
    for recipe in run_recipes:
        flags = {name: getattr(recipe, name) for name in ("backend", "model", "data")}
        article_recipe = build_recipe(values, flags)
        for key, (article_value, run_value) in recipe_differences(article_recipe, recipe).items():
            if key != "options":
                article_texts[key] = _as_text(article_value)
                run_texts.setdefault(key, {})[_as_text(run_value)] = None
        for option, value in recipe.options.items():
            if option not in article_recipe.options:
                run_texts.setdefault(option, {})[str(value)] = None
    phrases = []
    for key, texts in run_texts.items():
        article_text = article_texts.get(key)
        phrases.append(f"{key} {' or '.join(texts)}{f' instead of {article_text}' if article_text else ''}")
    return "; ".join(phrases) or "none"


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={number}" for name, number in value.items())
    return str(value)
