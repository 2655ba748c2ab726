"""Tests of repro.reproduction and repro.evaluation.reproduction_page, on runs of the made-up backend."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity_tests.support.made_up import QUICK
from repro.errors import ReproError
from repro.evaluation.articles import read_articles
from repro.reproduction import main
from repro.run import main as run

pytestmark = pytest.mark.usefixtures("made_up_backend")
ROOT = Path(__file__).parents[2]


def test_the_page_in_the_repository_is_what_the_command_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    store = Path("docs/runs")
    store.mkdir()
    for file in (ROOT / "docs/runs").glob("*/*/*"):
        target = store / file.relative_to(ROOT / "docs/runs")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    main([])
    assert Path("REPRODUCTION.md").read_text() == (ROOT / "REPRODUCTION.md").read_text()


def test_a_run_is_stored_and_shown() -> None:
    flags = ["--seed", "3", "--option", "dropout=0.1", "--mean", "0.1307", "--std", "0.3081", "--channels", "1"]
    run([*QUICK, "--epochs", "2", *flags, "--out", "runs/a"])
    main(["efficientnetv2_mnist=runs/a"])
    folder = Path("docs/runs/efficientnetv2_mnist/torch-asymmnet_small_x0_35")
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "metrics.jsonl", "summary.json"]
    page = Path("REPRODUCTION.md").read_text()
    articles = read_articles()
    assert all(f"## {article.title}\n" in page for article in articles.values())
    assert "| asymmnet_small_x0_35, dropout=0.1 | torch 1.0 | digits: 1,433 + 364 | 8 | 2 |" in page
    assert "; epochs 2 instead of 6" in page and "; seed 3 instead of 0" in page and "; mean " not in page
    assert page.count("Not run yet.") == len(articles) - 1
    assert Path("docs/runs/efficientnetv2_mnist/curves.png").is_file()
    main([])
    assert Path("REPRODUCTION.md").read_text() == page


def test_missing_and_damaged_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReproError, match="no such folder: docs/runs; run this in the folder of repro, or give --kept"):
        main([])
    run([*QUICK, "--epochs", "1", "--out", "runs/a"])
    main(["shufflenet_flowers=runs/a"])
    page = Path("REPRODUCTION.md").read_text()
    folder = Path("docs/runs/shufflenet_flowers/torch-asymmnet_small_x0_35")
    for file, content in {"summary.json": "{}", "metrics.jsonl": ""}.items():
        before = (folder / file).read_text()
        (folder / file).write_text(content)
        with pytest.raises(ReproError, match=f"{folder} is not a stored run"):
            main([])
        (folder / file).write_text(before)
    main([])
    assert Path("REPRODUCTION.md").read_text() == page


def test_differences_of_several_runs_are_listed_together() -> None:
    for backend, epochs in {"torch": "1", "paddle": "2"}.items():
        flags = [*QUICK, "--backend", backend, "--epochs", epochs, "--option", "dropout=0.1"]
        run([*flags, "--out", f"runs/{backend}"])
        main([f"efficientnetv2_mnist=runs/{backend}"])
    text = Path("REPRODUCTION.md").read_text()
    assert "Differences from the recipe: model asymmnet_small_x0_35 instead of efficientnet_v2_s;" in text
    assert "; epochs 1 or 2 instead of 6" in text


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("runs/a", "'runs/a' is not NAME=RUN"),
        ("shufflenet_flower=runs/a", "unknown recipe 'shufflenet_flower': did you mean shufflenet_flowers"),
        ("shufflenet_flowers=nowhere", "nowhere has no summary.json"),
    ],
)
def test_bad_arguments_are_one_line(argument: str, message: str) -> None:
    with pytest.raises(ReproError, match=message) as error:
        main([argument])
    assert "\n" not in str(error.value)
    assert not Path("REPRODUCTION.md").exists()
