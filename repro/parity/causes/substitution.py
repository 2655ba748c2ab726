"""Passes of two user models in which values are replaced by those of the first model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from repro.arrays import Arrays
from repro.interface.module_outputs import GRADIENT_PREFIX, is_output
from repro.parity.causes.paired_values import pair_values
from repro.parity.forward_rungs import TRAIN_BATCH
from repro.parity.tolerance import CANCELLED_SHARE, root_mean_square
from repro.parity.user_models.constants import with_unbiased_variances
from repro.parity.user_models.cuts import MAX_TURNED_AXES
from repro.parity.user_models.inputs import random_inputs, small_signals, with_batch
from repro.parity.user_models.models import UserModels
from repro.specs import STATISTICS

# Largest error of a value that is computed from right ones, relative to its root mean square. Float64 leaves constants
# that a framework keeps in float32
TOLERANCES = {True: 2e-5, False: 1e-4}


@dataclass(frozen=True)
class AxisOrder:
    """The axes of an array of the first model in the order of the other one, and the shape that the other one has.

    axes: those of the first model; sides: their lengths, in the other order; shape: that of the other model's array,
    which may join axes, such as (N, L, C) for (N, C, H, W).
    """

    axes: tuple[int, ...]
    sides: tuple[int, ...]
    shape: tuple[int, ...]

    def turn(self, array: np.ndarray) -> np.ndarray:
        """Return an array of the first model with the axes of the other one."""
        return np.ascontiguousarray(array.transpose(self.axes).reshape(self.shape))

    def turn_back(self, array: np.ndarray) -> np.ndarray:
        """Return an array of the other model with the axes of the first one."""
        return np.ascontiguousarray(array.reshape(self.sides).transpose(np.argsort(self.axes)))


def find_axis_order(array: np.ndarray, other: np.ndarray) -> AxisOrder:
    """The order of axes in which the array is closest to that of the other model, with the same number of elements."""
    last = range(1, array.ndim)
    orders = [
        AxisOrder(axes, tuple(array.shape[axis] for axis in axes), other.shape)
        for axes in ((0, *others) for others in permutations(last))
    ]
    return min(orders, key=lambda order: float(np.abs(order.turn(array) - other).sum()))


def _has_other_axes(array: np.ndarray, other: np.ndarray | None) -> bool:
    if other is None or other.shape == array.shape or other.size != array.size:
        return False
    return array.ndim <= MAX_TURNED_AXES and array.shape[0] == other.shape[0]


@dataclass(frozen=True)
class Pass:
    """The values of one model in a pass with replaced values, and where they are called, under the first's names."""

    values: Arrays
    places: Mapping[str, str]


class Substitution:
    """The passes of two models on one rung, of which the other one works on the first one's values.

    pairs: the first model's name of each paired value -> the other's; expected: the pass of the first model; forced:
    its paired values, from which the other model computes `actual`.
    """

    def __init__(
        self, models: UserModels, backend: str, rung: int, weights: Arrays, seed: int, *, small: bool, strict: bool
    ) -> None:
        """small: use small signals; strict: let constants of a framework count."""
        self.models, self.rung, self.backend = models, rung, backend
        self.first = next(iter(models.workers))
        self.pairs = pair_values(models, self.first, backend)
        self.weights, self.train, self.strict = weights, rung != 1, strict
        inputs = with_batch(models.inputs, TRAIN_BATCH) if self.train else models.inputs
        compared = {name: weights[name] for name in models.compared_weights}
        self.inputs = small_signals(inputs, compared, models.spec, seed, 0) if small else random_inputs(inputs, seed, 0)
        self.outputs = [name for name in models.results if is_output(name)]
        self.axis_orders: dict[str, AxisOrder] = {}  # name of a value whose axes the other model orders otherwise
        self.float64 = True  # until a model does not work in it
        self.float64 = all(self._request(label, [], {}, {}) is not None for label in (self.first, backend))
        self.expected = self._run(self.first, {}, {})
        seeds: Arrays = {}
        if rung == 4:
            rng = np.random.default_rng(seed)
            seeds = {name: rng.standard_normal(self.expected.values[name].shape) for name in self.outputs}
            self.expected = self._run(self.first, {}, seeds)
            seeds |= {value: self.expected.values[f"{GRADIENT_PREFIX}{value}"] for value in self.pairs}
        self.forced = {value: self.expected.values[value] for value in self.pairs if value in self.expected.values}
        self.actual = self._run(backend, self.forced, seeds)
        if any(_has_other_axes(array, self.actual.values.get(value)) for value, array in self.forced.items()):
            own = self._run(backend, {}, {}).values
            self.axis_orders = {
                value: find_axis_order(array, own[value])
                for value, array in self.forced.items()
                if _has_other_axes(array, own.get(value))
            }
            self.actual = self._run(backend, self.forced, seeds)

    @property
    def tolerance(self) -> float:
        """The largest error of a result, relative to its root mean square."""
        return TOLERANCES[self.float64]

    def wrong_results(self) -> list[str]:
        """The names of all results that are wrong, in the order in which the first model computes them."""
        wrong = [name for name in self._order() if self._differs(name, self.actual)]
        if self.rung != 4 and any(name in self.forced for name in wrong):
            return self._without_other_cuts(wrong)
        return wrong

    def producers(self, backend: str, name: str) -> list[str]:
        """The values from which a model directly computes a result, in the order of computation."""
        run = self.expected if backend == self.first else self.actual
        seed = np.random.default_rng(0).standard_normal(run.values[name].shape)
        gradients = self._run(backend, self.forced, {name: seed}).values
        return [value for value in self.forced if np.any(gradients.get(f"{GRADIENT_PREFIX}{value}", 0))]

    def stopped_gradients(self, value: str) -> tuple[str, str]:
        """The result from which no gradient reaches a value in the first model, and in the other one, or ""."""
        stopped = ["", ""]
        consumers = self._consumers(value) if value in self.forced else set()
        values = {*self.forced, *self.outputs}  # and not statistics, from which no gradient comes
        for consumer in (name for name in self.expected.values if name in consumers & values):
            reached = [
                value in self.producers(backend, consumer)
                for backend, run in ((self.first, self.expected), (self.backend, self.actual))
                if run.values[consumer].shape == self.expected.values[consumer].shape
            ]
            if len(set(reached)) > 1:
                stopped[reached.index(False)] = consumer
        return stopped[0], stopped[1]

    def _order(self) -> list[str]:
        """The names of all results in the order of computation: values, running statistics, gradients, the output."""
        results = self.expected.values
        if self.rung == 4:
            return [name for name in reversed(results) if name.startswith(GRADIENT_PREFIX)]
        statistics = [name for name, weight in self.models.spec.weights.items() if weight.kind in STATISTICS]
        names = [name for name in results if name not in statistics]
        return names + (statistics if self.rung == 2 else [])

    def _run(self, backend: str, values: Arrays, seeds: Arrays) -> Pass:
        """A pass of one model. values and seeds are under the first model's names."""
        run = self._request(backend, list(self.pairs), values, seeds)
        assert run
        return run

    def _request(self, backend: str, names: Sequence[str], values: Arrays, seeds: Arrays) -> Pass | None:
        own_names = self.pairs if backend == self.backend else {name: name for name in self.pairs}
        own_names = own_names | {name: self.models.names[backend][name] for name in self.outputs}
        orders = self.axis_orders if backend == self.backend else {}

        def turned(name: str, array: np.ndarray) -> np.ndarray:
            return orders[name].turn(array) if name in orders else array

        def turned_back(name: str, array: np.ndarray) -> np.ndarray:
            order = orders.get(name.removeprefix(GRADIENT_PREFIX))
            return order.turn_back(array) if order and array.shape == order.shape else array

        arrays = self.inputs | {f"value/{own_names[name]}": turned(name, array) for name, array in values.items()}
        arrays |= {f"seed/{own_names[name]}": turned(name, array) for name, array in seeds.items()}
        own = [own_names[name] for name in names]
        answer, results = self.models.workers[backend].request(
            "forward_with_values", arrays, names=own, train=self.train, float64=self.float64
        )
        if answer is None:
            return None
        shared = {own_name: name for name, own_name in own_names.items()}
        shared |= {f"{GRADIENT_PREFIX}{own_name}": f"{GRADIENT_PREFIX}{name}" for own_name, name in shared.items()}
        order = [name for name in answer["order"] if name in shared or not is_output(name)]
        values = {(value := shared.get(name, name)): turned_back(value, results[name]) for name in order}
        if self.rung == 2 and not self.strict:
            values = with_unbiased_variances(values, backend, self.models, self.weights)
        places = {shared[name]: place for name, place in answer["places"].items() if name in shared}
        return Pass(values, places)

    def _differs(self, name: str, actual: Pass) -> bool:
        """Return whether the other model has a result that is off by more than rounding."""
        expected = self.expected.values
        right = expected[name]
        if name not in actual.values:
            return False
        wrong = actual.values[name]
        if right.shape != wrong.shape:
            return not name.startswith(GRADIENT_PREFIX)  # that of an input which is padded elsewhere
        is_gradient = name.startswith(GRADIENT_PREFIX)
        peers = [array for peer, array in expected.items() if peer.startswith(GRADIENT_PREFIX) == is_gradient]
        largest = max(map(root_mean_square, peers)) if is_gradient else 0.0
        # a gradient that would be 0 without rounding was off by 3e-7 of the largest one in float32
        cancelled = CANCELLED_SHARE * largest * (1 if self.float64 else 10)
        size = max(root_mean_square(right), cancelled)
        return not np.abs(wrong - right).max(initial=0.0) <= self.tolerance * size  # a NaN differs, too

    def _without_other_cuts(self, wrong: list[str]) -> list[str]:
        """The wrong results without those of modules that only end elsewhere than the first model's.

        A normalisation that includes its activation, for example, returns something else, and yet what it feeds is
        right as long as its result is not replaced.
        """
        unforced = {name: array for name, array in self.forced.items() if name not in wrong}
        actual = self._run(self.backend, unforced, {})
        still_wrong = {name for name in self.expected.values if self._differs(name, actual)}
        dropped = {name for name in wrong if name not in still_wrong}
        for name in wrong:
            if name in self.forced:
                consumers = self._consumers(name)
                if consumers and consumers.isdisjoint(still_wrong):
                    dropped.add(name)
        return [name for name in wrong if name not in dropped]

    def _consumers(self, name: str) -> set[str]:
        """The results that the first model computes directly from a value."""
        factors = np.random.default_rng(0).uniform(0.5, 1.5, self.forced[name].shape)
        changed = self._run(self.first, self.forced | {name: self.forced[name] * factors}, {})
        expected = self.expected.values
        return {other for other, array in changed.values.items() if not np.array_equal(array, expected[other])}
