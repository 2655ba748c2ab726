"""Every place at which a user model errs by itself, whatever went wrong before it.

The other model runs with each value that a paired module takes or returns replaced by the first model's own, forwards
and backwards. So every module, and all code between modules, works on right values, and what is wrong there is its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from repro.arrays import Arrays
from repro.interface.module_outputs import LOGITS, is_output
from repro.interface.module_settings import ModuleDescription
from repro.parity.causes.cause import Evidence, find_cause
from repro.parity.causes.culprit import Culprit
from repro.parity.causes.paired_values import INPUT_PREFIX, module_of, modules_between, pair_values, without_inputs
from repro.parity.forward_rungs import TRAIN_BATCH
from repro.parity.record import Record
from repro.parity.tolerance import CANCELLED_SHARE, root_mean_square
from repro.parity.user_models.constants import with_unbiased_variances
from repro.parity.user_models.inputs import random_inputs, small_signals, with_batch
from repro.parity.user_models.models import UserModels
from repro.specs import STATISTICS

# Largest error of a value that is computed from right ones, relative to its root mean square. Float64 leaves constants
# that a framework keeps in float32
TOLERANCES = {True: 2e-5, False: 1e-4}
GRADIENT_PREFIX = "gradient of "


@dataclass(frozen=True)
class _Run:
    """The values of one model in a pass with replaced values, under the first model's names."""

    values: Arrays
    places: Mapping[str, str]


class CulpritSearch:
    """The search for what errs in one model by itself, on one rung, compared with the first model."""

    def __init__(
        self, models: UserModels, backend: str, rung: int, weights: Arrays, seed: int, *, small: bool, strict: bool
    ) -> None:
        """small: use small signals; strict: let constants of a framework count."""
        self.models, self.rung, self.backend = models, rung, backend
        self.first = next(iter(models.workers))
        self.pairs = pair_values(models, self.first, backend)
        self.weights, self.train = weights, rung != 1
        inputs = with_batch(models.inputs, TRAIN_BATCH) if self.train else models.inputs
        compared = {name: weights[name] for name in models.compared_weights}
        self.inputs = small_signals(inputs, compared, models.spec, seed, 0) if small else random_inputs(inputs, seed, 0)
        self.outputs = [name for name in models.results if is_output(name)]
        self.seed, self.strict = seed, strict

    def culprits(self, known: set[str]) -> Iterator[Culprit]:
        """Yield the culprits in the order in which the first model computes.

        known: the results that are known to be wrong, which are left out, and the gradients of what they are computed
        from; those that are yielded are added.
        """
        float64 = all(self._works_in_float64(backend) for backend in (self.first, self.backend))
        expected = self._run(self.first, {}, {}, float64=float64)
        seeds: Arrays = {}
        if self.rung == 4:
            rng = np.random.default_rng(self.seed)
            seeds = {name: rng.standard_normal(expected.values[name].shape) for name in self.outputs}
            expected = self._run(self.first, {}, seeds, float64=float64)
            seeds |= {value: expected.values[f"{GRADIENT_PREFIX}{value}"] for value in self.pairs}
        forced = {value: expected.values[value] for value in self.pairs if value in expected.values}
        actual = self._run(self.backend, forced, seeds, float64=float64)
        wrong = [name for name in self._order(expected) if self._differs(name, expected, actual, float64=float64)]
        if self.rung != 4 and any(name in forced for name in wrong):
            wrong = self._without_other_cuts(wrong, forced, expected, float64=float64)
        errors: list[np.ndarray] = []
        for name in wrong:
            error = _error(expected.values[name], actual.values[name])
            if any(_is_same_error(error, other) for other in errors):
                continue  # the same wrong value goes to several places
            errors.append(error)
            if name not in known:
                culprit, sources = self._describe(name, forced, expected, actual, float64=float64)
                known |= {name, *(f"{GRADIENT_PREFIX}{source}" for source in sources)}
                yield culprit

    def _works_in_float64(self, backend: str) -> bool:
        return self._request(backend, [], {}, {}, float64=True) is not None

    def _order(self, expected: _Run) -> list[str]:
        """The names of all results in the order of computation: values, running statistics, gradients, the output."""
        if self.rung == 4:
            return [name for name in reversed(expected.values) if name.startswith(GRADIENT_PREFIX)]
        names = [name for name in expected.values if not name.endswith(tuple(STATISTICS))]
        statistics = [name for name, weight in self.models.spec.weights.items() if weight.kind in STATISTICS]
        return names + (statistics if self.rung == 2 else [])

    def _run(self, backend: str, values: Arrays, seeds: Arrays, *, float64: bool, names: Sequence[str] = ()) -> _Run:
        """A pass of one model. values, seeds and names are under the first model's names."""
        run = self._request(backend, names or list(self.pairs), values, seeds, float64=float64)
        assert run
        return run

    def _request(
        self, backend: str, names: Sequence[str], values: Arrays, seeds: Arrays, *, float64: bool
    ) -> _Run | None:
        own_names = self.pairs if backend == self.backend else {name: name for name in self.pairs}
        own_names = own_names | {name: self.models.names[backend][name] for name in self.outputs}
        arrays = self.inputs | {f"value/{own_names[name]}": array for name, array in values.items()}
        arrays |= {f"seed/{own_names[name]}": array for name, array in seeds.items()}
        answer, results = self.models.workers[backend].request(
            "forward_with_values", arrays, names=[own_names[name] for name in names], train=self.train, float64=float64
        )
        if answer is None:
            return None
        shared = {own_name: name for name, own_name in own_names.items()}
        shared |= {f"{GRADIENT_PREFIX}{own_name}": f"{GRADIENT_PREFIX}{name}" for own_name, name in shared.items()}
        order = [name for name in answer["order"] if name in shared or not is_output(name)]
        values = {shared.get(name, name): results[name] for name in order}
        if self.rung == 2 and not self.strict:
            values = with_unbiased_variances(values, backend, self.models, self.weights)
        places = {shared[name]: place for name, place in answer["places"].items() if name in shared}
        return _Run(values, places)

    def _differs(self, name: str, expected: _Run, actual: _Run, *, float64: bool) -> bool:
        """Return whether the other model has a result that is off by more than rounding."""
        right = expected.values[name]
        if name not in actual.values:
            return False
        wrong = actual.values[name]
        if right.shape != wrong.shape:
            return not name.startswith(GRADIENT_PREFIX)  # that of an input which is padded elsewhere
        is_gradient = name.startswith(GRADIENT_PREFIX)
        peers = [array for peer, array in expected.values.items() if peer.startswith(GRADIENT_PREFIX) == is_gradient]
        largest = max(map(root_mean_square, peers)) if is_gradient else 0.0
        size = max(root_mean_square(right), CANCELLED_SHARE * largest)
        return not np.abs(wrong - right).max(initial=0.0) <= TOLERANCES[float64] * size  # a NaN differs, too

    def _without_other_cuts(self, wrong: list[str], forced: Arrays, expected: _Run, *, float64: bool) -> list[str]:
        """The wrong results without those of modules that only end elsewhere than the first model's.

        A normalisation that includes its activation, for example, returns something else, and yet what it feeds is
        right as long as its result is not replaced.
        """
        kept = {name: array for name, array in forced.items() if name not in wrong}
        actual = self._run(self.backend, kept, {}, float64=float64)
        still_wrong = {name for name in expected.values if self._differs(name, expected, actual, float64=float64)}
        dropped = {name for name in wrong if name not in still_wrong}
        for name in wrong:
            if name in forced:
                consumers = self._consumers(name, forced, expected, float64=float64)
                if consumers and consumers.isdisjoint(still_wrong):
                    dropped.add(name)
        return [name for name in wrong if name not in dropped]

    def _consumers(self, name: str, forced: Arrays, expected: _Run, *, float64: bool) -> set[str]:
        """The results that the first model computes directly from a value."""
        factors = np.random.default_rng(0).uniform(0.5, 1.5, forced[name].shape)
        changed = self._run(self.first, forced | {name: forced[name] * factors}, {}, float64=float64)
        return {other for other, array in changed.values.items() if not np.array_equal(array, expected.values[other])}

    def _producers(self, backend: str, name: str, forced: Arrays, run: _Run, *, float64: bool) -> list[str]:
        """The values from which a model directly computes a result, in the order of computation."""
        seed = np.random.default_rng(0).standard_normal(run.values[name].shape)
        gradients = self._run(backend, forced, {name: seed}, float64=float64).values
        return [value for value in forced if np.any(gradients.get(f"{GRADIENT_PREFIX}{value}", 0))]

    def _stopped_gradients(
        self, value: str, forced: Arrays, expected: _Run, actual: _Run, *, float64: bool
    ) -> tuple[str, str]:
        """The result from which no gradient reaches a value in the first model, and in the other one, or ""."""
        if value not in forced:
            return "", ""
        stopped = ["", ""]
        for consumer in self._consumers(value, forced, expected, float64=float64):
            reached = [
                value in self._producers(backend, consumer, forced, run, float64=float64)
                for backend, run in ((self.first, expected), (self.backend, actual))
                if run.values[consumer].shape == expected.values[consumer].shape
            ]
            if len(set(reached)) > 1:
                stopped[reached.index(False)] = consumer
        return stopped[0], stopped[1]

    def _describe(
        self, name: str, forced: Arrays, expected: _Run, actual: _Run, *, float64: bool
    ) -> tuple[Culprit, list[str]]:
        """The culprit behind a wrong result, and the values from which the result is computed."""
        value = name.removeprefix(GRADIENT_PREFIX)
        layer = "" if value in self.pairs or is_output(value) else self.models.spec.owners.get(value, "")
        path = layer or module_of(value)
        producers: list[str] = []
        other_producers: list[str] = []
        if value == name and not layer:
            producers = self._producers(self.first, name, forced, expected, float64=float64)
            other_producers = self._producers(self.backend, name, forced, actual, float64=float64)
        own_input = f"{INPUT_PREFIX}{value}"
        is_gradient = value != name
        is_module = bool(layer) or (value.startswith(INPUT_PREFIX) if is_gradient else producers == [own_input])
        inputs = {
            "the input" if name == "images" else name: array for name, array in self.inputs.items() if "/" not in name
        }
        entry = inputs if not is_gradient and not layer else {}
        sources = {producer: expected.values[producer] for producer in producers} or entry
        other_sources = {producer: expected.values[producer] for producer in other_producers} or entry
        modules = self._modules(path) if is_module else (None, None)
        between = ("", "") if is_module or is_gradient else self._between(producers, value)
        stopped = self._stopped_gradients(value, forced, expected, actual, float64=float64) if is_gradient else ("", "")
        evidence = Evidence(
            stopped=stopped,
            names=(self.first, self.backend),
            modules=modules,
            between=between,
            sources=sources,
            other_sources=other_sources,
            right=expected.values[name],
            wrong=actual.values[name],
            result="" if not (is_gradient or layer) else value,
            is_gradient=is_gradient,
            tolerance=TOLERANCES[float64],
            momentum=self.models.spec.norm_momentum,
            initial=self.weights.get(value),
        )
        places = [self._place(value, path, producers, is_module, is_gradient, own) for own in (False, True)]
        is_inside = not is_module and not is_gradient and not value.startswith(INPUT_PREFIX)
        nearest = [*reversed(producers), value] if is_inside else [value, f"{INPUT_PREFIX}{path}", *reversed(producers)]
        spoken = next((run for run in nearest if run in actual.places), "")
        calls = (expected.places.get(spoken, ""), actual.places.get(spoken, ""))
        texts = (modules[0].text, modules[1].text) if modules[0] and modules[1] else between
        culprit = Culprit(self.rung, self.backend, places[0], places[1], find_cause(evidence), texts, calls)
        return culprit, [*producers, *other_producers]

    def _modules(self, path: str) -> tuple[ModuleDescription | None, ModuleDescription | None]:
        own_path = self._own_path(path)
        return self.models.modules[self.first].get(path), self.models.modules[self.backend].get(own_path)

    def _own_path(self, path: str) -> str:
        return module_of(self.pairs.get(path, self.models.names[self.backend].get(path, path)))

    def _between(self, producers: Sequence[str], value: str) -> tuple[str, str]:
        """The unpaired modules that run between the producers and a value, as each framework writes them."""
        texts = []
        for backend, names in ((self.first, {name: name for name in self.pairs}), (self.backend, self.pairs)):
            descriptions = self.models.modules[backend]
            before = names.get(producers[-1], "") if producers else ""
            paths = modules_between(self.models.runs[backend], before, names.get(value, value), set(names.values()))
            texts.append(", ".join(descriptions[path].text for path in paths if "(" in descriptions[path].text
                                   or "<" in descriptions[path].text))  # fmt: skip
        return texts[0], texts[1]

    def _place(
        self, value: str, path: str, producers: Sequence[str], is_module: bool, is_gradient: bool, own: bool
    ) -> str:
        """The place of a culprit in words, under the names of the first model or of the other one."""

        def named(value: str) -> str:
            name = value.removeprefix(INPUT_PREFIX)
            return self.pairs.get(name, self._own_path(name)) if own and not is_output(name) else name

        if is_module:
            return self._own_path(path) if own else path
        if is_gradient:
            return f"behind {named(value)}"
        titles = [f"the input of {named(p)}" if p.startswith(INPUT_PREFIX) else named(p) for p in producers]
        before = [title for title in dict.fromkeys(titles) if title != f"the input of {named(value)}"]
        feeders = " and ".join(filter(None, [", ".join(before[:-1]), before[-1]])) if before else "the input"
        if not value.startswith(INPUT_PREFIX) and not is_output(value):
            return f"in {named(value)}, after {feeders}"
        return f"between {feeders} and {_output_in_words(value) if is_output(value) else named(value)}"


def _error(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    return wrong - right if wrong.shape == right.shape else wrong


def _is_same_error(error: np.ndarray, other: np.ndarray) -> bool:
    if error.shape != other.shape:
        return False
    return bool(np.allclose(error, other, rtol=1e-4, atol=1e-6 * float(np.abs(error).max(initial=0.0))))


def _output_in_words(name: str) -> str:
    return "the output" if name == LOGITS else f"the {name}"


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
            search = CulpritSearch(models, backend, rung, weights, seed, small=small, strict=strict)
            for culprit in search.culprits(known):
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
