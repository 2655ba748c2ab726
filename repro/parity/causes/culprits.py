"""Every place at which a user model errs by itself, whatever went wrong before it.

The other model runs with each value that a paired module takes or returns replaced by the first model's own, forwards
and backwards. So every module, and all code between modules, works on right values, and what is wrong there is its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from repro.arrays import Arrays
from repro.interface.module_outputs import INPUT_PREFIX
from repro.parity.causes.culprit import Culprit
from repro.parity.causes.culprit_search import CulpritSearch
from repro.parity.causes.paired_values import module_of, without_inputs
from repro.parity.causes.substitution import Substitution
from repro.parity.record import Record
from repro.parity.user_models.inputs import random_inputs
from repro.parity.user_models.models import UserModels


def explain_divergences(
    models: UserModels, records: Sequence[Record], weights: Arrays, seed: int, *, strict: bool = False
) -> list[Record]:
    """The records with the causes of their divergences, each at the first rung on which it shows.

    records: those of `run_user_rungs` with these weights, this seed and `strict`.
    """
    first, *others = models.workers
    culprits = [
        culprit
        for backend in others
        if (rungs := {record.rung for record in records if record.diverges and record.backend in (first, backend)})
        for culprit in _find_culprits(models, backend, rungs, weights, seed, strict=strict)
    ]
    return [
        replace(record, causes=tuple(c for c in culprits if (c.rung, c.backend) == (record.rung, record.backend)))
        for record in records
    ]


def _find_culprits(
    models: UserModels, backend: str, rungs: Collection[int], weights: Arrays, seed: int, *, strict: bool
) -> Iterable[Culprit]:
    """The culprits of one model that show on these rungs, by place, those of rung 0 first."""
    settings = _different_settings(models, backend) if 0 in rungs else ()
    culprits = {culprit.place: culprit for culprit in settings}
    known: set[str] = set()
    if set(rungs) - {0}:
        culprits |= {culprit.place: culprit for culprit in _different_counts(models, backend, min(set(rungs) - {0}))}
    for rung in sorted(set(rungs) - {0}):
        # a small epsilon shows with small signals only
        for small in (False, True) if rung == 1 else (False,):
            passes = Substitution(models, backend, rung, weights, seed, small=small, strict=strict)
            for culprit in CulpritSearch(passes).culprits(known):
                culprits.setdefault(culprit.place, culprit)
    return culprits.values()


def _different_settings(models: UserModels, backend: str) -> Iterator[Culprit]:
    """Rung 0: what the functions of the models have set."""
    first, names = next(iter(models.workers)), models.names[backend]
    places = [_call_places(models, name) for name in (first, backend)]
    for place, text in models.differences[backend]:
        path = place if place in models.modules[first] else models.spec.owners.get(place, "")
        own_path = names.get(path, path)
        modules = models.modules[first].get(path), models.modules[backend].get(own_path)
        texts = (modules[0].text, modules[1].text) if modules[0] and modules[1] else ("", "")
        calls = (places[0].get(f"{INPUT_PREFIX}{path}", ""), places[1].get(f"{INPUT_PREFIX}{own_path}", ""))
        yield Culprit(0, backend, place, names.get(place, place), text, texts, calls)


def _different_counts(models: UserModels, backend: str, rung: int) -> Iterator[Culprit]:
    """The modules with weights that run more often in one model than in the other, as one culprit."""
    first = next(iter(models.workers))
    names = {name: own for name, own in models.names[backend].items() if own in models.modules[backend] and own}
    runs, own_runs = (Counter(map(module_of, without_inputs(models.runs[label]))) for label in (first, backend))
    counts = {name: (runs[name], own_runs[own]) for name, own in names.items()}
    different = [name for name, (count, own_count) in counts.items() if count != own_count and count]
    if different:
        place, (count, own_count) = different[0], counts[different[0]]
        more = f", and {len(different) - 1} more modules" if len(different) > 1 else ""
        text = f"it runs {count} times in {first} and {own_count} times in {backend}{more}"
        modules = models.modules[first].get(place), models.modules[backend].get(names[place])
        texts = (modules[0].text, modules[1].text) if modules[0] and modules[1] else ("", "")
        yield Culprit(rung, backend, place, names[place], text.replace("1 times", "once"), texts)


def _call_places(models: UserModels, backend: str) -> dict[str, str]:
    """The place of each module's call, by the model's own name of the input."""
    names = [name for name in models.runs[backend] if name.startswith(INPUT_PREFIX)]
    inputs = random_inputs(models.inputs, 0, 0)
    return models.workers[backend].request("forward_with_values", inputs, names=names)[0]["places"]
