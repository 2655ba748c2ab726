"""repro.parity.judge: the order of requests to the backends, and the places that verdicts name."""

from __future__ import annotations

from dataclasses import replace
from threading import Event
from time import sleep
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.parity.attempt import Computation, Compute
from repro.parity.judge import describe_place, judge
from repro.specs import find_spec

SPEC = find_spec("shufflenet_v1_g1_x0_25")
WORKERS: dict[str, Any] = {"torch": None, "paddle": None}
Results = dict[str, dict[str, np.ndarray]]


def computation(name: str, compute: Compute) -> Computation:
    return Computation(name, lambda attempt: {"images": np.ones(3, np.float32)}, "images", compute, float64_factor=1.0)


def equal_results(workers: Any, float64: bool) -> Results:
    return {backend: {"logits": np.ones(3, np.float64 if float64 else np.float32)} for backend in workers}


def test_a_backend_starts_the_next_computation_while_another_is_busy() -> None:
    torch_is_ahead = Event()

    def first(workers: Any, inputs: object, *, float64: bool, every_module: bool) -> Results:
        assert "torch" in workers or torch_is_ahead.wait(20), "torch was idle while paddle was busy"
        return equal_results(workers, float64)

    def second(workers: Any, inputs: object, *, float64: bool, every_module: bool) -> Results:
        if "torch" in workers:
            torch_is_ahead.set()
        return equal_results(workers, float64)

    records = list(judge(SPEC, 1, WORKERS, [computation("first", first), computation("second", second)], {}))
    assert [(record.backend, record.verdict) for record in records] == [("torch", "equal"), ("paddle", "equal")]


def test_a_failure_ends_the_requests() -> None:
    calls = []

    def fail(workers: Any, inputs: object, *, float64: bool, every_module: bool) -> Results:
        calls.append(workers)
        sleep(0.1)
        raise ReproError("it broke")

    with pytest.raises(ReproError, match="it broke"):
        list(judge(SPEC, 1, WORKERS, [computation(str(number), fail) for number in range(20)], {}))
    assert len(calls) < 20  # only those that had begun, of at least two for each computation


def test_large_networks_are_computed_by_one_backend_at_a_time() -> None:
    busy: list[str] = []

    def compute(workers: Any, inputs: object, *, float64: bool, every_module: bool) -> Results:
        busy.append(*workers)
        sleep(0.01)
        assert len(busy) == 1
        busy.clear()
        return equal_results(workers, float64)

    large = {"weight": np.broadcast_to(np.float32(0), (200_000_000,))}
    list(judge(SPEC, 1, WORKERS, [computation("first", compute), computation("second", compute)], large))


def test_without_float64_there_is_no_reference() -> None:
    def compute(workers: Any, inputs: object, *, float64: bool, every_module: bool) -> Results:
        return {} if float64 else equal_results(workers, float64)

    with pytest.raises(ReproError, match="no float64 reference available: add torch or paddle"):
        list(judge(SPEC, 1, WORKERS, [computation("", compute)], {}))


def test_place() -> None:
    names = ["input of a", "a.conv", "a.norm", "a.norm.running_mean", "a", "input of b", "b"]
    assert describe_place(names, 1) == "a.conv"
    assert describe_place(names, 4) == "a (after a.norm)"
    assert describe_place(names, 5) == "input of b (after a)"
    assert describe_place(names, 6) == "b"
    assert describe_place(["gradient of b", "gradient of a"], 1) == "gradient of a (after that of b)"
    assert describe_place(["gradient of b", "gradient of a"], 0) == "gradient of b"


@pytest.mark.parametrize(("error", "verdict"), [(0.01, "rounding"), (0.5, "unanswerable"), (40.0, "diverges")])
def test_a_random_reference_hides_no_error(error: float, verdict: str) -> None:
    """A reference whose float32 runs are off by as much as its values are: what is off, too, is not equal."""
    exact = np.random.default_rng(0).normal(0, 1, 1000)

    def compute(workers: Any, inputs: object, *, float64: bool, every_module: bool) -> Results:
        noise = np.float32(0 if float64 else 1)
        results = {"torch": exact + noise, "paddle": exact + (0 if float64 else error)}
        dtype = np.float64 if float64 else np.float32
        return {backend: {"logits": results[backend].astype(dtype)} for backend in workers}

    _, record = judge(SPEC, 1, WORKERS, [replace(computation("", compute), ceiling=0.1)], {})
    assert (record.backend, record.verdict) == ("paddle", verdict)


@pytest.mark.parametrize(("error", "verdict"), [(0.5, "diverges"), (1e-5, "equal")])
def test_a_large_error_of_a_module_counts_on_any_inputs(error: float, verdict: str) -> None:
    def compute(workers: Any, inputs: Any, float64: bool, every_module: bool) -> Results:
        dtype = np.float64 if float64 else np.float32
        exact = np.linspace(0.5, 1.5, 100) * inputs["images"][0]
        clipped = exact - error * (np.arange(100) == 0) * (inputs["images"][0] < 1.5)  # on the first inputs only
        return {backend: {"logits": (clipped if backend == "paddle" else exact).astype(dtype)} for backend in workers}

    def make_inputs(attempt: int) -> dict[str, np.ndarray]:
        return {"images": np.full(3, 1 + attempt, np.float32)}

    of_modules = replace(computation("", compute), make_inputs=make_inputs, compares_modules=True)
    records = {record.backend: record for record in judge(SPEC, 1, WORKERS, [of_modules], {})}
    assert records["paddle"].verdict == verdict
