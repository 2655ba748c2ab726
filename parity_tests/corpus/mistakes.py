"""Mistakes planted in ports of three small networks, each a small edit of the port's text.

`python -m parity_tests.corpus mistakes` compares each faulty port with the sound network of another framework, and
prints whether the mistake was caught, whether its place was named first, and whether its cause was.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from parity_tests.corpus import planted_attention, planted_cnn, planted_resize
from parity_tests.corpus.mistake import Mistake, sound
from repro.errors import ReproError
from repro.parity.causes.culprit import Culprit
from repro.parity.causes.culprits import explain_divergences
from repro.parity.user_models.inputs import InputSpec
from repro.parity.user_models.models import load_random_weights, load_user_models
from repro.parity.user_models.rungs import run_user_rungs
from repro.workers.client import Worker

NETWORKS = Path(__file__).resolve().parents[1] / "programs" / "corpus_networks"
MISTAKES = [*planted_cnn.MISTAKES, *planted_attention.MISTAKES, *planted_resize.MISTAKES]
SOUND = [sound(network, port) for network in ("cnn", "attention", "resize") for port in ("paddle", "mindspore")]
INPUTS, RUNGS = (InputSpec((2, 3, 32, 32)),), (0, 1, 2, 4)
CORE = 12  # every twelfth mistake runs in the tests


@dataclass
class Outcome:
    """The result of comparing a faulty port.

    rung: the first that does not agree, or None; errors: its sentences, or the message where nothing was compared.
    """

    mistake: Mistake
    rung: int | None
    culprits: list[Culprit] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def caught(self) -> bool:
        """Return whether the port was found to be wrong."""
        return self.rung is not None

    @property
    def place_right(self) -> bool:
        """Return whether the first culprit is where the mistake was planted."""
        text = self.culprits[0].place if self.culprits else " ".join(self.errors)
        return self.caught and re.search(self.mistake.place, text) is not None

    @property
    def cause_named(self) -> bool:
        """Return whether the cause of the first culprit is that of the mistake."""
        text = self.culprits[0].cause if self.culprits else " ".join(self.errors)
        return self.caught and re.search(self.mistake.cause, text) is not None


def compare(workers: dict[str, Worker], mistake: Mistake, folder: Path, number: int) -> Outcome:
    """Compare a faulty port with a sound network of another framework, PyTorch where the port is not in PyTorch.

    folder: gets the faulty port as a module.
    """
    other = "paddle" if mistake.framework == "torch" else "torch"
    text = (NETWORKS / f"{mistake.framework}_{mistake.network}.py").read_text()
    assert mistake.is_sound or text.count(mistake.old) == 1, (
        f"{mistake.name}: {mistake.old!r} occurs {text.count(mistake.old)} times"
    )
    module = f"{mistake.framework}_{mistake.network}_{number}"
    (folder / f"{module}.py").write_text(text if mistake.is_sound else text.replace(mistake.old, mistake.new))
    (folder / f"{other}_{mistake.network}.py").write_text((NETWORKS / f"{other}_{mistake.network}.py").read_text())
    sources = {mistake.framework: f"{module}:Net", other: f"{other}_{mistake.network}:Net"}
    chosen = {backend: worker for backend, worker in workers.items() if backend in sources}
    for worker in chosen.values():
        worker.ensure_running()
    try:
        models = load_user_models(chosen, sources, INPUTS, None, lambda line: None, folder=folder)
        weights = load_random_weights(models, 0)
        for rung in RUNGS:
            records = [record for record in run_user_rungs(models, [rung], weights, 0) if not record.agrees]
            if records:
                explained = explain_divergences(models, records, weights, 0)
                culprits = [culprit for record in explained for culprit in record.causes]
                return Outcome(mistake, rung, culprits, [record.sentence for record in records])
    except ReproError as error:
        return Outcome(mistake, 0, errors=[str(error)])
    return Outcome(mistake, None)


def outcomes(*, core: bool, text: str) -> Iterator[Outcome]:
    """Yield the outcome of each sound port and each mistake with `text` in its title, in one process per framework."""
    mistakes = [mistake for mistake in SOUND + MISTAKES[:: CORE if core else 1] if text in mistake.title]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        backends = sorted({"torch", "paddle"} | {mistake.framework for mistake in mistakes}, reverse=True)
        workers = {
            name: stack.enter_context(Worker(name))
            for name in sorted(backends, key=["torch", "paddle", "mindspore"].index)
        }
        for number, mistake in enumerate(mistakes):
            yield compare(workers, mistake, folder, number)


def run(*, core: bool, text: str) -> int:
    """Print the table, and return 0 if every mistake was caught, and no sound port."""
    start = time.monotonic()
    print("| network | port | mistake | rung | place | cause | report |\n|---|---|---|---|---|---|---|")
    results = []
    for outcome in outcomes(core=core, text=text):
        results.append(outcome)
        mistake = outcome.mistake
        marks = [cell(outcome, is_right=mark) for mark in (outcome.place_right, outcome.cause_named)]
        rung = ("agrees" if mistake.is_sound else "PASSED") if outcome.rung is None else outcome.rung
        said = outcome.culprits[0].sentence if outcome.culprits else " ".join(outcome.errors)[:160]
        more = f" (and {len(outcome.culprits) - 1} more)" if len(outcome.culprits) > 1 else ""
        print(
            f"| {mistake.network} | {mistake.framework} | {mistake.name} | {rung} |{'|'.join(marks)}| {said}{more} |",
            flush=True,
        )
    planted = [outcome for outcome in results if not outcome.mistake.is_sound]
    alarms = sum(outcome.caught for outcome in results if outcome.mistake.is_sound)
    caught, placed, named = (
        sum(getattr(outcome, mark) for outcome in planted) for mark in ("caught", "place_right", "cause_named")
    )
    print(f"\n{len(planted)} mistakes: {caught} caught, {placed} with the right place, {named} with their cause")
    print(f"{len(results) - len(planted)} sound ports: {alarms} false alarms, in {time.monotonic() - start:.0f} s")
    return int(caught < len(planted) or alarms > 0)


def cell(outcome: Outcome, *, is_right: bool) -> str:
    """A cell of the table, empty for a sound port."""
    if outcome.mistake.is_sound:
        return " "
    return " yes " if is_right else " NO "
