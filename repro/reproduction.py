"""Puts together REPRODUCTION.md: what the articles' recipes gave on each backend, beside what the articles claim."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.cli import command_name, run_command
from repro.errors import ReproError

if TYPE_CHECKING:
    from repro.training.recipe import Recipe
    from repro.training.run_folder import FinishedRun

KEPT = ("config.yaml", "metrics.jsonl", "summary.json")
SUMMARY = ("framework_version", "dataset", "train_images", "val_images", "epochs", "best_val_top1", "seconds")
BACKENDS = ("torch", "paddle", "mindspore")  # in the order of the tables


@dataclass(frozen=True)
class Article:
    """title: of the section; page: the family's; claim: what the article says came out; why: what came out here may
    differ for, beyond the values that the table shows."""

    title: str
    page: str
    claim: str
    why: str


NO_WEIGHTS = "There are no pretrained weights here: the network begins with fresh ones."
ARTICLES = {
    "efficientnetv2_mnist": Article(
        "EfficientNetV2 on MNIST", "efficientnet_v2",
        "None: it builds the network and has no code that trains.",
        "The data are 10,000 of MNIST's 70,000 digits, its test files, of which every fifth of a class validates.",
    ),
    "shufflenet_flowers": Article(
        "ShuffleNet V2 on flowers", "shufflenet_v2",
        "A training accuracy of about 90 %, beginning with torchvision's weights for ImageNet.",
        NO_WEIGHTS,
    ),
    "asymmnet_caltech16": Article(
        "AsymmNet on 16 classes of Caltech-101", "asymmnet",
        "None in its text: its code prints the best validation accuracy as it trains, over 100 epochs.",
        "The article takes 16 classes of Caltech-101 of its own choice, and these are others.",
    ),
    "rdnet_seedlings": Article(
        "RDNet on plant seedlings", "rdnet",
        "More than 97 % on 12 kinds of plant seedlings.",
        f"The seedlings are not at hand, and the data are others. {NO_WEIGHTS}",
    ),
    "resnet50v2_birds": Article(
        "ResNet-50 V2 on birds", "resnet",
        "A best model over 10 epochs, whose accuracy it does not tell.",
        "The birds are not at hand, and the data are others.",
    ),
    "resnet_cifar10": Article(
        "ResNets on CIFAR-10: tables 1 and 2 of He et al.", "resnet_cifar",
        "Errors of 7.61 % with the original unit and 4.92 % with full pre-activation at 1001 layers, quoted from the "
        "paper; and, in words, that at 110 layers the identity is the best shortcut, and full pre-activation the best "
        "order. The paper's errors at 110 layers are 6.61 % and 6.37 %.",
        "The paper takes 64,000 steps on 50,000 images; the data are 12,000 of CIFAR-10's 60,000 images, and a run "
        "here has about 1,200 steps.",
    ),
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog=command_name("reproduction"),
        description="Keep what runs of the articles' recipes gave, and write the page about all that are kept.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="*", metavar="NAME=RUN", help=f"run folders to keep; NAME: {', '.join(ARTICLES)}")
    parser.add_argument("--kept", type=Path, metavar="DIR", default=Path("docs/runs"), help="(default: docs/runs)")
    parser.add_argument("--out", type=Path, metavar="FILE.md", default=Path("REPRODUCTION.md"),
                        help="(default: REPRODUCTION.md)")  # fmt: skip
    arguments = parser.parse_args(argv)
    pairs = [_pair(text) for text in arguments.runs]
    for name, run in pairs:
        keep(name, run, arguments.kept)
    if not arguments.kept.is_dir():
        raise ReproError(f"no such folder: {arguments.kept}; start in the folder of repro, or give --kept")
    write(arguments.kept, arguments.out)
    print(f"{arguments.out}: {len(pairs)} more, {len(list(arguments.kept.glob('*/*/summary.json')))} runs in all")
    return 0


def _pair(text: str) -> tuple[str, Path]:
    from repro.errors import unknown

    name, _, path = text.partition("=")
    if not path:
        raise ReproError(f"{text!r} is no NAME=RUN, such as shufflenet_flowers=runs/flowers")
    if name not in ARTICLES:
        raise unknown("recipe", name, ARTICLES)
    if not (Path(path) / "summary.json").is_file():
        raise ReproError(f"{path} has no summary.json; give the folder of a run that came to its end")
    return name, Path(path)


def keep(name: str, run: Path, kept: Path) -> None:
    """Copies what is small of a run into KEPT/NAME/BACKEND-MODEL, without the folders that its data were in."""
    from repro.files import write_text
    from repro.training.recipe import to_yaml
    from repro.training.run_folder import read_recipe

    recipe = read_recipe(run)
    folder = kept / name / f"{recipe.backend}-{recipe.model}"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.yaml", to_yaml(replace(recipe, data=Path(recipe.data).name)))
    for file in KEPT[1:]:
        write_text(folder / file, (run / file).read_text())


def write(kept: Path, out: Path) -> None:
    """The page, and beside the kept runs of each article a picture of their curves."""
    from repro.files import write_text
    from repro.plots.curves import draw_runs
    from repro.training import recipe as recipes

    parts = [HEAD]
    for name, article in ARTICLES.items():
        runs = sorted(map(_read, (kept / name).glob("*/")), key=_order)
        parts.append(f"## {article.title}\n")
        parts.append(f"[configs/{name}.yaml](configs/{name}.yaml), [docs/{article.page}.md](docs/{article.page}.md)\n")
        parts.append(f"The article's claim: {article.claim[0].lower()}{article.claim[1:]}\n")
        if not runs:
            parts.append("Not run yet.\n")
            continue
        values = recipes.read(Path(__file__).parent.parent / "configs" / f"{name}.yaml")
        parts += [*_table(runs, values.get("options", {})), ""]
        parts.append(
            f"What differs from the recipe: {_changes(values, [run.recipe for run, _ in runs])}. {article.why}\n"
        )
        picture = kept / name / "curves.png"
        draw_runs([(run.path.name, run.progress.history) for run, _ in runs], picture)
        parts.append(f"![Loss and accuracy](<{picture.as_posix()}>)\n")
    write_text(out, "\n".join(parts))


HEAD = """# The articles' recipes, as they came out here

Written by `python -m repro.reproduction` from the runs in [docs/runs](docs/runs), each of which was made by

    python -m repro.run --backend BACKEND --config configs/NAME.yaml --data DATA ...

on 2 CPU cores of a shared machine, two runs at a time or beside other work, so that the minutes of two rows do not
compare the frameworks. The same batches reach every backend, to the bit; rounding differs, which training magnifies,
so that the rows of one network end some points apart, as runs with other seeds do. Top-1 is that of the epoch that was
best in validation.
"""


def _read(folder: Path) -> tuple[FinishedRun, dict[str, Any]]:
    from repro.training.run_folder import FinishedRun, Progress, read_recipe

    try:
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        summary = json.loads((folder / "summary.json").read_text())
        _ = [(row["val_top1"], row["train_top1"]) for row in rows], [summary[name] for name in SUMMARY], rows[0]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ReproError(
            f"{folder} is not what is kept of a run ({error!r}); remove it, and keep the run anew"
        ) from error
    return FinishedRun(folder, read_recipe(folder), Progress("", rows)), summary


def _order(run: tuple[FinishedRun, dict[str, Any]]) -> tuple[str, int, str]:
    recipe = run[0].recipe
    return recipe.model, BACKENDS.index(recipe.backend) if recipe.backend in BACKENDS else 9, recipe.backend


def _table(runs: Sequence[tuple[FinishedRun, dict[str, Any]]], options: Mapping[str, Any]) -> list[str]:
    lines = [
        "| network | backend | data, images to train and to validate | side | epochs | top-1 | in training | minutes |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for run, summary in runs:
        recipe = run.recipe
        own = "".join(f", {name}={value}" for name, value in recipe.options.items() if options.get(name) != value)
        lines.append(
            f"| {recipe.model}{own} | {recipe.backend} {summary['framework_version']} | {summary['dataset']}, "
            f"{summary['train_images']:,} and {summary['val_images']:,} | {recipe.image_size} | {summary['epochs']} | "
            f"{summary['best_val_top1']:.2%} | {run.progress.best['train_top1']:.2%} | {summary['seconds'] / 60:.1f} |"
        )
    return lines


def _changes(values: Mapping[str, Any], made: Sequence[Recipe]) -> str:
    """What flags changed of the recipe, in any of the runs."""
    from repro.training import recipe as recipes
    from repro.training.resolve import differences

    networks = dict.fromkeys(recipe.model for recipe in made)
    found = {} if values["model"] in networks else {"the network": (values["model"], networks)}
    for recipe in made:
        article = recipes.make(values, {name: getattr(recipe, name) for name in ("backend", "model", "data")})
        for key, (value, own) in differences(article, recipe).items():
            if key != "options":
                found.setdefault(key, (_told(value), {}))[1][_told(own)] = None
        for name, value in recipe.options.items():
            if name not in article.options:
                found.setdefault(name, ("", {}))[1][str(value)] = None
    told = [f"{key} is {' or '.join(own)}{f', not {value}' * bool(value)}" for key, (value, own) in found.items()]
    return ", ".join(told) or "nothing"


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return " and ".join(f"{name} {number}" for name, number in value.items())
    return str(value)


if __name__ == "__main__":
    run_command(main)
