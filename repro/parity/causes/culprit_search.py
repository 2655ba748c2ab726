"""The search for what errs in one user model by itself, and its description."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from repro.arrays import Arrays
from repro.interface.module_outputs import GRADIENT_PREFIX, INPUT_PREFIX, LOGITS, is_output
from repro.interface.module_settings import ModuleDescription
from repro.parity.causes.cause import Evidence, find_cause
from repro.parity.causes.culprit import Culprit
from repro.parity.causes.paired_values import module_of, modules_between
from repro.parity.causes.substitution import Substitution
from repro.parity.user_models.structure import is_same_layer


class CulpritSearch:
    """The search for what errs in one model by itself, on one rung, compared with the first model."""

    def __init__(self, passes: Substitution) -> None:
        self.passes, self.models = passes, passes.models
        self.labels = (passes.first, passes.backend)

    def culprits(self, known: set[str]) -> Iterator[Culprit]:
        """Yield the culprits in the order in which the first model computes.

        known: the results that are known to be wrong, which are left out, and the gradients of what they are computed
        from; those that are yielded are added.
        """
        errors: list[np.ndarray] = []
        for name in self.passes.wrong_results():
            error = _error(self.passes.expected.values[name], self.passes.actual.values[name])
            if any(_is_same_error(error, other) for other in errors):
                continue  # the same wrong value goes to several places
            errors.append(error)
            if name not in known:
                culprit, sources = self._describe(name)
                known |= {name, *(f"{GRADIENT_PREFIX}{source}" for source in sources)}
                yield culprit

    def _describe(self, name: str) -> tuple[Culprit, list[str]]:
        """The culprit behind a wrong result, and the values from which the result is computed."""
        passes = self.passes
        expected, actual = passes.expected, passes.actual
        value = name.removeprefix(GRADIENT_PREFIX)
        layer = "" if value in passes.pairs or is_output(value) else self.models.spec.owners.get(value, "")
        path = layer or module_of(value)
        producers: list[str] = []
        other_producers: list[str] = []
        if value == name and not layer:
            producers, other_producers = (passes.producers(label, name) for label in self.labels)
        is_gradient = value != name
        is_module = bool(layer) or (
            value.startswith(INPUT_PREFIX) if is_gradient else producers == [f"{INPUT_PREFIX}{value}"]
        )
        inputs = {
            "the input" if name == "images" else name: array for name, array in passes.inputs.items() if "/" not in name
        }
        entry = inputs if not is_gradient and not layer else {}
        modules = self._modules(path) if is_module else (None, None)
        between = ("", "") if is_module or is_gradient else self._between(producers, value)
        evidence = Evidence(
            stopped=passes.stopped_gradients(value) if is_gradient else ("", ""),
            names=self.labels,
            modules=modules,
            between=between,
            sources={producer: expected.values[producer] for producer in producers} or entry,
            other_sources={producer: expected.values[producer] for producer in other_producers} or entry,
            weights={} if is_gradient or layer else self._weights_around(path),
            right=expected.values[name],
            wrong=actual.values[name],
            result="" if not (is_gradient or layer) else value,
            is_gradient=is_gradient,
            tolerance=passes.tolerance,
            momentum=self.models.spec.norm_momentum,
            initial=passes.weights.get(value),
        )
        places = [
            self._place(value, path, producers, is_module=is_module, is_gradient=is_gradient, own=own)
            for own in (False, True)
        ]
        is_inside = not is_module and not is_gradient and not value.startswith(INPUT_PREFIX)
        nearest = [*reversed(producers), value] if is_inside else [value, f"{INPUT_PREFIX}{path}", *reversed(producers)]
        spoken = next((run for run in nearest if run in actual.places), "")
        calls = (expected.places.get(spoken, ""), actual.places.get(spoken, ""))
        texts = (modules[0].text, modules[1].text) if modules[0] and modules[1] else between
        culprit = Culprit(passes.rung, passes.backend, places[0], places[1], find_cause(evidence), texts, calls)
        return culprit, [*producers, *other_producers]

    def _weights_around(self, path: str) -> Arrays:
        """The weights that modules around a place own themselves, such as a class token or positions."""
        owners = self.models.spec.owners
        around = {"", *(path.rsplit(".", depth)[0] for depth in range(1, path.count(".") + 1))}
        return {name: self.passes.weights[name] for name in self.models.compared_weights if owners[name] in around}

    def _modules(self, path: str) -> tuple[ModuleDescription | None, ModuleDescription | None]:
        first, other = (self.models.modules[label] for label in self.labels)
        return first.get(path), other.get(self._own_path(path))

    def _own_path(self, path: str) -> str:
        return module_of(self.passes.pairs.get(path, self.models.names[self.passes.backend].get(path, path)))

    def _between(self, producers: Sequence[str], value: str) -> tuple[str, str]:
        """The unpaired modules that run between the producers and a value, as each framework writes them."""
        modules = []
        pairs = self.passes.pairs
        for label, names in zip(self.labels, ({name: name for name in pairs}, pairs), strict=True):
            before = names.get(producers[-1], "") if producers else ""
            paths = modules_between(self.models.runs[label], before, names.get(value, value), set(names.values()))
            shown = [self.models.modules[label][path] for path in paths]
            modules.append([module for module in shown if "(" in module.text or "<" in module.text])
        if len(modules[0]) == len(modules[1]) and all(map(is_same_layer, *modules)):
            return "", ""
        texts = [", ".join(module.text for module in of_model) for of_model in modules]
        return texts[0], texts[1]

    def _place(
        self, value: str, path: str, producers: Sequence[str], *, is_module: bool, is_gradient: bool, own: bool
    ) -> str:
        """The place of a culprit in words, under the names of the first model or of the other one."""

        def named(value: str) -> str:
            name = value.removeprefix(INPUT_PREFIX)
            return self.passes.pairs.get(name, self._own_path(name)) if own and not is_output(name) else name

        if is_module:
            return self._own_path(path) if own else path
        if is_gradient:
            return f"after {named(value)}"
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
