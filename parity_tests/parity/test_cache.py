"""repro.parity.cache: which records of earlier runs are found again, and which are not trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parity_tests.support.records import make_record
from repro.interface import discovery
from repro.parity import cache as cache_module
from repro.parity.cache import RecordCache, cache_folder, code_digests
from repro.specs import CATALOGUE, find_spec

VERSIONS = {"torch": "1.0", "paddle": "1.0"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the cache in this test."""
    monkeypatch.setattr(cache_module, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def entry(folder: Path) -> Path:
    """The file of stored records of vgg16 on rung 1."""
    records = [make_record(backend=backend) for backend in VERSIONS]
    RecordCache(VERSIONS).store(records, 0)
    assert RecordCache(VERSIONS).load("vgg16", 1, 0) == records
    (path,) = folder.iterdir()
    return path


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "repro/parity"
    for invalid in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", invalid)
        assert cache_folder() == Path.home() / ".cache/repro/parity"


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "{}", '"digest"', "[" * 100_000, "\ud800", '{"digest": null}', "1e999", "9" * 5000],
    ids=lambda text: repr(text[:20]),
)
def test_a_damaged_entry_is_ignored(text: str, entry: Path) -> None:
    entry.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert RecordCache(VERSIONS).load("vgg16", 1, 0) == []
    entry.unlink()
    entry.mkdir()
    assert RecordCache(VERSIONS).load("vgg16", 1, 0) == []


FORGERIES = {
    "another model": lambda rows: rows[0].update(model="vgg19"),
    "another rung": lambda rows: rows[0].update(rung=2),
    "a rung of true": lambda rows: rows[0].update(rung=True),
    "another backend": lambda rows: rows[1].update(backend="torch"),
    "one record less": lambda rows: rows.pop(),
    "one record more": lambda rows: rows.append(rows[0]),
    "a divergence": lambda rows: rows[0].update(verdict="diverges"),
    "an unknown verdict": lambda rows: rows[0].update(verdict=["equal"]),
    "an error of NaN": lambda rows: rows[0].update(max_error=float("nan")),
    "a negative tolerance": lambda rows: rows[0].update(tolerance=-1.0),
    "a number that is too large": lambda rows: rows[0].update(tolerance=10**400),
    "no tolerance": lambda rows: rows[0].update(tolerance=None),
    "a text instead of a number": lambda rows: rows[0].update(max_error="0"),
    "a number instead of a text": lambda rows: rows[0].update(reason=1),
    "an additional field": lambda rows: rows[0].update(extra=1),
    "a missing field": lambda rows: rows[0].pop("where"),
    "no profile": lambda rows: rows[0].pop("profile"),
    "a profile of numbers": lambda rows: rows[0].update(profile=[1, 2]),
    "a point with two values": lambda rows: rows[0].update(profile=[["stem", 1.0]]),
    "a point without a name": lambda rows: rows[0].update(profile=[[None, 1.0, 1.0]]),
    "an error of true": lambda rows: rows[0].update(profile=[["stem", True, 1.0]]),
    "a text instead of a record": lambda rows: rows.__setitem__(0, "row"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_records_that_the_cache_would_not_have_written_are_ignored(forgery: str, entry: Path) -> None:
    content = json.loads(entry.read_text())
    FORGERIES[forgery](content["records"])
    entry.write_text(json.dumps(content))
    assert RecordCache(VERSIONS).load("vgg16", 1, 0) == []


def test_records_belong_to_versions_backends_seed_rung_and_model(entry: Path) -> None:
    assert RecordCache(VERSIONS | {"paddle": "1.1"}).load("vgg16", 1, 0) == []
    assert RecordCache(dict(reversed(VERSIONS.items()))).load("vgg16", 1, 0) == []
    assert RecordCache({"torch": "1.0"}).load("vgg16", 1, 0) == []
    assert RecordCache(VERSIONS).load("vgg16", 1, 1) == []
    assert RecordCache(VERSIONS).load("vgg16", 2, 0) == []
    assert RecordCache(VERSIONS).load("vgg19", 1, 0) == []


def test_records_depend_on_the_code_that_computes_them() -> None:
    names = {"/".join(Path(path).parts[-3:]) for path in code_digests("backends.torch", "asymmnet")}
    for needed in (
        "repro/parity/ladder.py", "repro/parity/judge.py", "repro/parity/comparison.py", "repro/workers/__init__.py",
        "repro/workers/serve.py", "repro/workers/model_session.py", "repro/weights/init.py", "repro/data/loader.py",
        "repro/specs/base.py", "repro/specs/asymmnet.py", "torch/models/asymmnet.py", "backends/torch/layers.py",
        "backends/torch/trainer.py",
    ):  # fmt: skip
        assert any(name.endswith(needed) for name in names), needed
    for unrelated in ("specs/vgg.py", "models/vgg.py", "catalogue.py", "console.py", "page.py", "backends/paddle"):
        assert not any(unrelated in name for name in names), unrelated


def test_specs_have_no_memory_address_in_their_repr() -> None:
    """The digest contains the repr of the spec, and an address would differ in every process."""
    assert [name for name in CATALOGUE if " at 0x" in repr(find_spec(name))] == []


def test_a_changed_file_of_a_family_concerns_only_that_family(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "elsewhere"
    (package / "models").mkdir(parents=True)
    for name in ("__init__", "layers", "models/vgg", "models/densenet"):
        (package / f"{name}.py").write_text("import repro.errors\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(discovery.SHIPPED, "elsewhere", "elsewhere")
    models = ("vgg16", "densenet121")

    def cached_models() -> list[str]:
        code_digests.cache_clear()
        cache_module._read_source.cache_clear()
        return [model for model in models if RecordCache({"elsewhere": "1"}).load(model, 1, 0)]

    for model in models:
        RecordCache({"elsewhere": "1"}).store([make_record(model, backend="elsewhere")], 0)
    assert cached_models() == ["vgg16", "densenet121"]
    (package / "models/vgg.py").write_text("import repro.errors  # changed\n")
    assert cached_models() == ["densenet121"]
    (package / "models/vgg.py").write_text("import repro.errors\n")
    assert cached_models() == ["vgg16", "densenet121"]
    (package / "layers.py").write_text("import repro.errors  # changed\n")
    assert cached_models() == []


def test_nothing_is_stored_for_a_backend_whose_code_cannot_be_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(discovery.SHIPPED, "hidden", "no_such_package")
    RecordCache({"hidden": "1"}).store([make_record(backend="hidden")], 0)
    assert not folder.exists()
    assert RecordCache({"hidden": "1"}).load("vgg16", 1, 0) == []
