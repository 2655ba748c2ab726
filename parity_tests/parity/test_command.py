"""The command's table, its progress, and what it keeps from earlier runs: with records made here, no framework."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from repro.interface import discovery
from repro.parity import cache as cache_module
from repro.parity.__main__ import main
from repro.parity.cache import Cache, code, folder
from repro.parity.comparison import Verdict
from repro.parity.console import Matrix, Progress, cost, mark
from repro.parity.record import Record, worst
from repro.specs import CATALOGUE, find_spec

BACKENDS = ("torch", "paddle", "mindspore")
RUNGS = {
    0: "structure",
    1: "eval",
    2: "train",
    3: "loss",
    4: "gradients",
    5: "optimizer",
    6: "trajectory",
    7: "outcome",
}


def record(model: str = "vgg16", rung: int = 1, backend: str = "torch", share: float = 0.25) -> Record:
    verdict: Verdict = "diverges" if share > 1 else "rounding" if share else "equal"
    profile = [("stem", 1e-7, 1e-6), ("logits", share * 1e-6, 1e-6)]
    return Record(model, rung, backend, "torch float64", verdict, share * 1e-6, 1e-6, "logits", "a reason", profile)


class Climbs(list):
    """Every (model, rungs, seed) that was climbed; share: of the backend's error."""

    share: Callable[[str, int, str, int], float] = staticmethod(lambda model, rung, backend, seed: 0.25)

    def __call__(self, model: str, rungs: list[int], workers: dict, seed: int) -> Iterator[Record]:
        self.append((model, rungs, seed))
        for rung in rungs:
            for backend in workers:
                yield record(model, rung, backend, self.share(model, rung, backend, seed))


@pytest.fixture
def climbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Climbs:
    """The command climbs no ladder here, and keeps its results in a folder of the test."""
    climbs = Climbs()
    monkeypatch.setattr("repro.parity.ladder.climb", climbs)
    workers = {name: SimpleNamespace(version="1.0") for name in BACKENDS}
    monkeypatch.setattr("repro.parity.__main__._start", lambda wanted, stack: workers)
    monkeypatch.setattr(cache_module, "folder", lambda: tmp_path / "kept")
    return climbs


# The table


def test_a_line_has_a_mark_for_each_backend_and_fits() -> None:
    matrix = Matrix(["asymmnet_large_x0_35_r0"], RUNGS, BACKENDS)
    shares = {"torch": 0.0, "paddle": 0.999, "mindspore": 7.0}
    line = matrix.line(
        "asymmnet_large_x0_35_r0",
        [record(rung=rung, backend=name, share=shares[name]) for rung in RUNGS for name in BACKENDS],
    )
    assert line.split()[0] == "asymmnet_large_x0_35_r0"
    assert line.split(maxsplit=1)[1] == "|".join([" = 99 XX"] * 8).strip()
    assert {len(row.rstrip()) <= 100 for row in (line, *matrix.heading.splitlines())} == {True}
    assert [title.strip() for title in matrix.heading.splitlines()[0].split("|")] == [
        "0 struc.", "1 eval", "2 train", "3 loss", "4 gradi.", "5 optim.", "6 traje.", "7 outco."
    ]  # fmt: skip
    assert Matrix(["vgg16"], {0: "structure", 1: "eval"}, BACKENDS).heading.split("\n") == [
        "       0 structure|1 eval", "       to pa mi   |to pa mi"
    ]  # fmt: skip
    # a rung or a backend without a record leaves its place empty
    assert matrix.line("asymmnet_large_x0_35_r0", [record(rung=7, backend="paddle")]).endswith("|   25")


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "="), (0.004, "0"), (0.125, "13"), (0.1746, "17"), (1.0, "99"), (1.01, "XX")]
)
def test_marks(share: float, text: str) -> None:
    assert mark(record(share=share)) == text


def test_the_worst_speaks_for_a_cell() -> None:
    shares = [0.2, 0.9, 0.0]
    assert worst([record(share=share) for share in shares]).share == pytest.approx(0.9)
    failed = replace(record(share=2.0), max_error=None, reference="", where="", reason="backend torch: it ended")
    assert worst([record(share=0.9), failed, record(share=0.0)]) is failed
    assert failed.sentence == "vgg16, rung 1: backend torch: it ended"
    assert mark(failed) == "XX"


def test_bigger_variants_and_later_rungs_cost_more() -> None:
    assert cost("asymmnet_small_x0_35", 1) < cost("vgg16", 1) < cost("vgg16", 4)
    assert cost("vgg16", 99) >= cost("vgg16", 5)  # of one that is not known yet


def test_progress_shows_on_a_terminal_alone(climbs: Climbs, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert main(["--models", "vgg16,vgg19", "--rungs", "0,1", "--fresh"]) == 0
    assert capsys.readouterr().err == ""
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(2, 10.0) as progress:
        progress.begin(1, "vgg19")
        progress.update(5.0)
        progress.refresh()
    assert "1/2 done, now vgg19:  50 %" in terminal.getvalue()
    assert re.search(r"about \d\d:\d\d left", terminal.getvalue())


def test_what_diverges_is_said_and_counted(climbs: Climbs, capsys) -> None:
    climbs.share = lambda model, rung, backend, seed: 3.0 if (model, backend) == ("vgg19", "paddle") else 0.5
    assert main(["--models", "vgg16,vgg19", "--rungs", "1"]) == 1
    out = capsys.readouterr().out
    assert "vgg19, rung 1: paddle diverges from torch float64 first at logits: a reason\n" in out
    assert re.search(r"^vgg19  50 XX 50$", out, re.MULTILINE)
    assert re.search(r"^6 comparisons, 1 diverge, in \d+ s$", out, re.MULTILINE)
    assert "false alarms" not in out


def test_several_seeds_tell_how_many_alarms_are_false(climbs: Climbs, tmp_path: Path, capsys) -> None:
    climbs.share = lambda model, rung, backend, seed: 1.5 if (seed, backend) == (2, "paddle") else 0.1 * (seed + 1)
    path = tmp_path / "records.json"
    assert main(["--models", "vgg16", "--rungs", "1", "--seeds", "3", "--json", str(path)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^vgg16  30 XX 30$", out, re.MULTILINE)
    assert "false alarms: 1 in 3 seeds x 3 comparisons" in out
    assert "largest share of the rounding allowed was 1.50" in out
    assert len(json.loads(path.read_text())) == 9


def test_smallest_and_all(climbs: Climbs) -> None:
    assert main(["--models", "smallest", "--rungs", "0"]) == 0
    names = [model for model, _, _ in climbs]
    families = {find_spec(name).family for name in CATALOGUE}
    assert {find_spec(name).family for name in names} == families
    assert len(names) == len(families)
    for name in names:
        family = [spec for spec in map(find_spec, CATALOGUE) if spec.family == find_spec(name).family]
        assert find_spec(name).macs == min(spec.macs for spec in family)
    climbs.clear()
    assert main(["--models", "vgg16", "--rungs", "all", "--fresh"]) == 0
    assert climbs[0][1][:7] == [0, 1, 2, 3, 4, 5, 6]


# What is kept


def test_a_second_run_computes_what_is_not_kept(climbs: Climbs, tmp_path: Path, capsys) -> None:
    path = tmp_path / "records.json"
    assert main(["--models", "vgg16", "--rungs", "0,1", "--json", str(path)]) == 0
    first = path.read_text()
    assert climbs == [("vgg16", [0, 1], 0)]
    climbs.clear()
    assert main(["--models", "vgg16", "--rungs", "0,1", "--json", str(path)]) == 0
    assert not climbs
    assert path.read_text() == first
    assert "6 comparisons, 0 diverge, in 0 s (6 kept from earlier runs)" in capsys.readouterr().out
    assert main(["--models", "vgg19,vgg16", "--rungs", "2,1,0", "--seeds", "2"]) == 0
    assert climbs == [
        ("vgg19", [0, 1, 2], 0), ("vgg19", [0, 1, 2], 1), ("vgg16", [2], 0), ("vgg16", [0, 1, 2], 1),
    ]  # fmt: skip


def test_fresh_computes_and_keeps_everything(climbs: Climbs, tmp_path: Path) -> None:
    for flags in ([], ["--fresh"], []):
        assert main(["--models", "vgg16", "--rungs", "1", *flags]) == 0
        climbs.share = lambda model, rung, backend, seed: 0.75
    assert len(climbs) == 2
    (entry,) = (tmp_path / "kept").iterdir()
    assert json.loads(entry.read_text())["records"][0]["max_error"] == pytest.approx(0.75e-6)


def test_a_divergence_is_never_kept(climbs: Climbs) -> None:
    climbs.share = lambda model, rung, backend, seed: 3.0 if (rung, backend) == (1, "paddle") else 0.5
    assert main(["--models", "vgg16", "--rungs", "0,1"]) == 1
    assert main(["--models", "vgg16", "--rungs", "0,1"]) == 1
    assert climbs == [("vgg16", [0, 1], 0), ("vgg16", [1], 0)]


def test_a_folder_that_cannot_be_written_costs_nothing(
    climbs: Climbs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache_module, "folder", lambda: tmp_path / "file" / "kept")
    assert main(["--models", "vgg16", "--rungs", "0"]) == 0
    assert "results are not kept: " in capsys.readouterr().err


def test_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "repro/parity"
    for other in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", other)
        assert folder() == Path.home() / ".cache/repro/parity"


VERSIONS = {"torch": "1.0", "paddle": "1.0"}


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a kept result of rung 1 of vgg16."""
    monkeypatch.setattr(cache_module, "folder", lambda: tmp_path / "kept")
    records = [record(backend=backend) for backend in VERSIONS]
    Cache(VERSIONS).keep(records, 0)
    assert Cache(VERSIONS).load("vgg16", 1, 0) == records
    (path,) = (tmp_path / "kept").iterdir()
    return path


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "{}", '"digest"', "[" * 100_000, "\ud800", '{"digest": null}', "1e999", "9" * 5000],
    ids=lambda text: repr(text[:20]),
)
def test_a_damaged_entry_is_not_believed(text: str, entry: Path) -> None:
    entry.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert Cache(VERSIONS).load("vgg16", 1, 0) == []
    entry.unlink()
    entry.mkdir()
    assert Cache(VERSIONS).load("vgg16", 1, 0) == []


FOREIGN = {
    "another model": lambda rows: rows[0].update(model="vgg19"),
    "another rung": lambda rows: rows[0].update(rung=2),
    "a rung that is true": lambda rows: rows[0].update(rung=True),
    "another backend": lambda rows: rows[1].update(backend="torch"),
    "one less": lambda rows: rows.pop(),
    "one more": lambda rows: rows.append(rows[0]),
    "diverges": lambda rows: rows[0].update(verdict="diverges"),
    "no such verdict": lambda rows: rows[0].update(verdict=["equal"]),
    "not a number": lambda rows: rows[0].update(max_error=float("nan")),
    "negative": lambda rows: rows[0].update(tolerance=-1.0),
    "too large": lambda rows: rows[0].update(tolerance=10**400),
    "no tolerance": lambda rows: rows[0].update(tolerance=None),
    "a text for a number": lambda rows: rows[0].update(max_error="0"),
    "a number for a text": lambda rows: rows[0].update(reason=1),
    "another field": lambda rows: rows[0].update(extra=1),
    "a field less": lambda rows: rows[0].pop("where"),
    "no profile": lambda rows: rows[0].pop("profile"),
    "a profile of numbers": lambda rows: rows[0].update(profile=[1, 2]),
    "a point of two": lambda rows: rows[0].update(profile=[["stem", 1.0]]),
    "a point without a name": lambda rows: rows[0].update(profile=[[None, 1.0, 1.0]]),
    "a point that is true": lambda rows: rows[0].update(profile=[["stem", True, 1.0]]),
    "no row": lambda rows: rows.__setitem__(0, "row"),
}


@pytest.mark.parametrize("change", FOREIGN)
def test_a_foreign_entry_is_not_believed(change: str, entry: Path) -> None:
    kept = json.loads(entry.read_text())
    FOREIGN[change](kept["records"])
    entry.write_text(json.dumps(kept))
    assert Cache(VERSIONS).load("vgg16", 1, 0) == []


def test_other_versions_backends_seeds_and_rungs_are_other_results(entry: Path) -> None:
    assert Cache(VERSIONS | {"paddle": "1.1"}).load("vgg16", 1, 0) == []
    assert Cache(dict(reversed(VERSIONS.items()))).load("vgg16", 1, 0) == []
    assert Cache({"torch": "1.0"}).load("vgg16", 1, 0) == []
    assert Cache(VERSIONS).load("vgg16", 1, 1) == []
    assert Cache(VERSIONS).load("vgg16", 2, 0) == []
    assert Cache(VERSIONS).load("vgg19", 1, 0) == []


def test_what_a_result_depends_on() -> None:
    names = {"/".join(Path(path).parts[-3:]) for path in code("backends.torch", "asymmnet")}
    for needed in (
        "repro/parity/ladder.py", "repro/parity/judge.py", "repro/parity/comparison.py", "repro/workers/__init__.py",
        "repro/workers/serve.py", "repro/weights/init.py", "repro/data/loader.py", "repro/specs/base.py",
        "repro/specs/asymmnet.py", "torch/models/asymmnet.py", "backends/torch/layers.py", "backends/torch/trainer.py",
    ):  # fmt: skip
        assert any(name.endswith(needed) for name in names), needed
    for idle in ("specs/vgg.py", "models/vgg.py", "catalogue.py", "console.py", "page.py", "backends/paddle"):
        assert not any(idle in name for name in names), idle


def test_no_spec_has_an_address_in_its_text() -> None:
    """Which would be another in every run."""
    assert not [name for name in CATALOGUE if " at 0x" in repr(find_spec(name))]


def test_a_changed_file_concerns_its_family_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "elsewhere"
    (package / "models").mkdir(parents=True)
    for name in ("__init__", "layers", "models/vgg", "models/densenet"):
        (package / f"{name}.py").write_text("import repro.errors\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(discovery.SHIPPED, "elsewhere", "elsewhere")
    monkeypatch.setattr(cache_module, "folder", lambda: tmp_path / "kept")
    models = ("vgg16", "densenet121")

    def kept() -> list[str]:
        code.cache_clear()
        cache_module._look_into.cache_clear()
        return [model for model in models if Cache({"elsewhere": "1"}).load(model, 1, 0)]

    for model in models:
        Cache({"elsewhere": "1"}).keep([record(model, backend="elsewhere")], 0)
    assert kept() == ["vgg16", "densenet121"]
    (package / "models/vgg.py").write_text("import repro.errors  # changed\n")
    assert kept() == ["densenet121"]
    (package / "models/vgg.py").write_text("import repro.errors\n")
    assert kept() == ["vgg16", "densenet121"]
    (package / "layers.py").write_text("import repro.errors  # changed\n")
    assert kept() == []


def test_a_backend_whose_code_is_not_seen_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(discovery.SHIPPED, "hidden", "no_such_package")
    monkeypatch.setattr(cache_module, "folder", lambda: tmp_path / "kept")
    Cache({"hidden": "1"}).keep([record(backend="hidden")], 0)
    assert not (tmp_path / "kept").exists()
    assert Cache({"hidden": "1"}).load("vgg16", 1, 0) == []
