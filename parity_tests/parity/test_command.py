"""repro.parity.__main__: what the command prints, computes and stores, with made-up records and no framework."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from parity_tests.support.records import make_record
from repro.errors import ReproError
from repro.parity import cache as cache_module
from repro.parity.__main__ import main
from repro.parity.record import Record
from repro.specs import CATALOGUE, find_spec

BACKENDS = ("torch", "paddle", "mindspore")


class FakeLadder(list):
    """A substitute for run_rungs, and a list of its calls as (model, rungs, seed)."""

    error_ratio: Callable[[str, int, str, int], float] = staticmethod(lambda model, rung, backend, seed: 0.25)

    def __call__(self, model: str, rungs: list[int], workers: dict, seed: int) -> Iterator[Record]:
        self.append((model, rungs, seed))
        for rung in rungs:
            for backend in workers:
                yield make_record(model, rung, backend, error_ratio=self.error_ratio(model, rung, backend, seed))


@pytest.fixture
def ladder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLadder:
    """A ladder that the command uses instead of the real one, with a cache of its own."""
    ladder = FakeLadder()
    workers = {name: SimpleNamespace(version="1.0") for name in BACKENDS}
    monkeypatch.setattr("repro.parity.variants.run_rungs", ladder)
    monkeypatch.setattr("repro.parity.variants.start_workers", lambda backends, stack, modes: workers)
    monkeypatch.setattr(cache_module, "cache_folder", lambda: tmp_path / "cache")
    return ladder


def test_divergences_are_printed_and_counted(ladder: FakeLadder, capsys: pytest.CaptureFixture[str]) -> None:
    ladder.error_ratio = lambda model, rung, backend, seed: 3.0 if (model, backend) == ("vgg19", "paddle") else 0.5
    assert main(["--models", "vgg16,vgg19", "--rungs", "1"]) == 1
    output = capsys.readouterr()
    assert "= bit-identical   22 error is 22 % of the tolerance   XX diverges\n" in output.out
    assert "vgg19, rung 1: paddle first diverges from torch float64 at logits: a reason\n" in output.out
    assert re.search(r"^vgg19  50 XX 50$", output.out, re.MULTILINE)
    assert re.search(r"^6 comparisons, 1 diverge, in \d+ s$", output.out, re.MULTILINE)
    assert "false alarms" not in output.out
    assert output.err == ""  # the progress bar shows only on a terminal


def test_several_seeds_count_false_alarms(
    ladder: FakeLadder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ladder.error_ratio = lambda model, rung, backend, seed: (
        1.5 if (seed, backend) == (2, "paddle") else 0.1 * (seed + 1)
    )
    path = tmp_path / "records.json"
    assert main(["--models", "vgg16", "--rungs", "1", "--seeds", "3", "--json", str(path)]) == 1
    output = capsys.readouterr().out
    assert re.search(r"^vgg16  30 XX 30$", output, re.MULTILINE)
    assert "false alarms, if the backends are sound: 1 in 3 seeds x 3 comparisons" in output
    assert "largest error in units of the tolerance: 1.50" in output
    assert len(json.loads(path.read_text())) == 9


def test_smallest_is_the_variant_of_each_family_with_the_fewest_macs(ladder: FakeLadder) -> None:
    assert main(["--models", "smallest", "--rungs", "0"]) == 0
    specs = [find_spec(model) for model, _, _ in ladder]
    assert len(specs) == len({spec.family for spec in specs})
    assert {spec.family for spec in specs} == {find_spec(name).family for name in CATALOGUE}
    for spec in specs:
        assert spec.macs == min(other.macs for other in map(find_spec, CATALOGUE) if other.family == spec.family)


def test_all_rungs(ladder: FakeLadder) -> None:
    assert main(["--models", "vgg16", "--rungs", "all"]) == 0
    assert ladder == [("vgg16", [0, 1, 2, 3, 4, 5, 6, 7, 8], 0)]


def test_a_second_run_computes_only_what_is_not_stored(
    ladder: FakeLadder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "records.json"
    assert main(["--models", "vgg16", "--rungs", "0,1", "--json", str(path)]) == 0
    records = path.read_text()
    assert ladder == [("vgg16", [0, 1], 0)]
    ladder.clear()
    assert main(["--models", "vgg16", "--rungs", "0,1", "--json", str(path)]) == 0
    assert not ladder
    assert path.read_text() == records
    assert "6 comparisons, 0 diverge, in 0 s (6 from earlier runs)" in capsys.readouterr().out
    assert main(["--models", "vgg19,vgg16", "--rungs", "2,1,0", "--seeds", "2"]) == 0
    assert ladder == [
        ("vgg19", [0, 1, 2], 0), ("vgg19", [0, 1, 2], 1), ("vgg16", [2], 0), ("vgg16", [0, 1, 2], 1),
    ]  # fmt: skip


def test_fresh_computes_and_stores_everything(ladder: FakeLadder, tmp_path: Path) -> None:
    for flags in ([], ["--fresh"], []):
        assert main(["--models", "vgg16", "--rungs", "1", *flags]) == 0
        ladder.error_ratio = lambda model, rung, backend, seed: 0.75
    assert len(ladder) == 2
    (entry,) = (tmp_path / "cache").iterdir()
    assert json.loads(entry.read_text())["records"][0]["max_error"] == pytest.approx(0.75e-6)


def test_a_divergence_is_never_stored(ladder: FakeLadder) -> None:
    ladder.error_ratio = lambda model, rung, backend, seed: 3.0 if (rung, backend) == (1, "paddle") else 0.5
    assert main(["--models", "vgg16", "--rungs", "0,1"]) == 1
    assert main(["--models", "vgg16", "--rungs", "0,1"]) == 1
    assert ladder == [("vgg16", [0, 1], 0), ("vgg16", [1], 0)]


def test_a_cache_that_cannot_be_written_does_no_harm(
    ladder: FakeLadder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(cache_module, "cache_folder", lambda: tmp_path / "file" / "cache")
    assert main(["--models", "vgg16", "--rungs", "0"]) == 0
    assert "results are not stored for later runs: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "asymnet_large"], "unknown model 'asymnet_large': did you mean asymmnet_large"),
        (["--rungs", "9"], "unknown rung '9'"),
        (["--backends", "pytorch"], "unknown backend 'pytorch': did you mean torch"),
        (["--models", ","], "no model was named"),
        (["--seeds", "0"], "--seeds is 0; give a number above 0"),
    ],
)
def test_bad_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises(ReproError, match=message):
        main(arguments)
