"""References to published weights -> files in the publisher's cache, downloaded where they are missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from repro.errors import ReproError, unknown
from repro.published.entry import PUBLISHERS, PublishedWeights, cache_folder, snapshots_folder
from repro.workers.client import interpreter

TABLE = Path(__file__).with_name("table.json")


def is_reference(text: str | Path) -> bool:
    """Return whether the text is PUBLISHER:NAME and not the path of a file."""
    publisher, colon, name = str(text).partition(":")
    return bool(colon and name) and publisher in PUBLISHERS and not Path(text).exists()


@cache
def table() -> tuple[PublishedWeights, ...]:
    """The entries of our own table, which `python -m repro.published.make_table` writes."""
    return tuple(PublishedWeights(**row) for row in json.loads(TABLE.read_text())["weights"])


@cache
def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet-1k's 1,000 classes in the order of the outputs."""
    return tuple(json.loads(TABLE.read_text())["imagenet_classes"])


def models_of(publisher: str) -> dict[str, str]:
    """Our variants that the publisher has -> the publisher's name of the model."""
    from repro.weights.layouts import PUBLISHED

    models: dict[str, str] = {}
    for layout in PUBLISHED:
        if layout.publisher == publisher:
            models |= dict(layout.models)
    return models


def ask_package(publisher: str, models: Iterable[tuple[str, str]]) -> list[PublishedWeights] | None:
    """The entries of (variant, model) pairs by the publisher's installed package; None where it is not installed."""
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        pairs = [f"{variant}={model}" for variant, model in models]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
        command = [interpreter(PUBLISHERS[publisher]), "-m", "repro.published.query", publisher, str(answer), *pairs]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
        except OSError:
            return None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            if last.startswith(("ModuleNotFoundError", "ImportError")):
                return None
            raise ReproError(f"the installed package of {publisher} did not list its weights: {last}")
        return [PublishedWeights(**row) for row in json.loads(answer.read_text())]


def find(reference: str) -> PublishedWeights:
    """Return the entry of PUBLISHER:NAME from the publisher's installed package or, without it, from our table.

    Without a tag, it is the publisher's default. Raises ReproError as find_in_table does.
    """
    entry = find_in_table(reference)
    if entry.cached:  # the package, which is slow to import, has nothing to add
        return entry
    model = models_of(entry.publisher)[entry.variant]
    return _named(ask_package(entry.publisher, [(entry.variant, model)]) or [], entry.name) or entry


def find_in_table(reference: str) -> PublishedWeights:
    """Return the entry of PUBLISHER:NAME from our table.

    Raises ReproError for an unknown publisher or name, with the nearest known ones.
    """
    publisher, _, name = reference.partition(":")
    if publisher not in PUBLISHERS:
        raise unknown("publisher", publisher, PUBLISHERS)
    entries = [entry for entry in table() if entry.publisher == publisher]
    chosen = _named(entries, name)
    if chosen is None:
        raise unknown(f"weights of {publisher}", name, [entry.name for entry in entries])
    return chosen


def _named(entries: Iterable[PublishedWeights], name: str) -> PublishedWeights | None:
    """The entry of this name, or the first one of this model."""
    candidates = list(entries)
    exact = [entry for entry in candidates if entry.name == name]
    tagged = [entry for entry in candidates if entry.name.partition(".")[0] == name]
    return next(iter(exact + tagged), None)


def fetch(entry: PublishedWeights) -> Path:
    """Return the path of the file in the publisher's cache, where it is downloaded if it is missing.

    Raises ReproError where it cannot be downloaded, with the place to put it by hand, and for a cached file that is
    damaged.
    """
    from repro.published.download import difference, download

    if path := entry.cached:
        if reason := difference(path, sha256=entry.sha256, md5=entry.md5, size=entry.size):
            raise ReproError(f"{path} is damaged: it has {reason}; remove it, and it is downloaded again")
        return path
    if entry.hub:
        return _fetch_from_hub(entry)
    from tqdm import tqdm

    path = cache_folder(entry.publisher) / entry.file
    pause = 0.1 if sys.stderr.isatty() else 60.0
    with tqdm(
        desc=f"downloading {entry.file}", total=entry.size, unit="B", unit_scale=True, leave=False, delay=pause,
        mininterval=pause, maxinterval=pause, dynamic_ncols=True,
    ) as progress:  # fmt: skip

        def show(done: int, total: int | None) -> None:
            progress.total = total or progress.total
            progress.update(done - progress.n)

        download(entry.url, path, sha256=entry.sha256, md5=entry.md5, size=entry.size, progress=show)
    return path


def _fetch_from_hub(entry: PublishedWeights) -> Path:
    """The file of a Hugging Face repository, by its own library, which resumes, checks and caches."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import logging
    except ImportError as error:
        raise ReproError(
            f"{entry.reference} is on the Hugging Face hub, whose library is missing ({error}); "
            "install it with: pip install huggingface_hub"
        ) from error
    logging.set_verbosity_error()  # warnings about retries would only repeat the error below
    try:
        return Path(hf_hub_download(entry.hub, entry.file))
    except Exception as error:  # the library raises errors of several HTTP libraries
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        path = snapshots_folder(entry) / "main" / entry.file
        raise ReproError(
            f"cannot download {entry.file} of {entry.hub} ({reason}); download it yourself and place it at {path}"
        ) from error
