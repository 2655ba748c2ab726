"""Who is asked what, and when."""

from __future__ import annotations

from threading import Event
from time import sleep
from typing import Any

import numpy as np
import pytest

from repro.errors import ReproError
from repro.parity.judge import Question, Run, judge
from repro.specs import find_spec

SPEC = find_spec("shufflenet_v1_g1_x0_25")
WORKERS: dict[str, Any] = {"torch": None, "paddle": None}
Answer = dict[str, dict[str, np.ndarray]]


def question(name: str, run: Run) -> Question:
    return Question(name, lambda attempt: {"images": np.ones(3, np.float32)}, "images", run, double=1.0)


def answer(workers: Any, double: bool) -> Answer:
    return {backend: {"logits": np.ones(3, np.float64 if double else np.float32)} for backend in workers}


def test_no_backend_waits_for_another_to_be_asked_the_next_question() -> None:
    asked = Event()

    def first(workers: Any, inputs: object, double: bool, every_module: bool) -> Answer:
        assert "torch" in workers or asked.wait(20), "torch was asked nothing while paddle was busy"
        return answer(workers, double)

    def second(workers: Any, inputs: object, double: bool, every_module: bool) -> Answer:
        if "torch" in workers:
            asked.set()
        return answer(workers, double)

    records = list(judge(SPEC, 1, WORKERS, [question("first", first), question("second", second)], {}))
    assert [(record.backend, record.verdict) for record in records] == [("torch", "equal"), ("paddle", "equal")]


def test_after_a_failure_nothing_more_is_asked() -> None:
    asked = []

    def run(workers: Any, inputs: object, double: bool, every_module: bool) -> Answer:
        asked.append(workers)
        sleep(0.1)
        raise ReproError("it broke")

    with pytest.raises(ReproError, match="it broke"):
        list(judge(SPEC, 1, WORKERS, [question(str(number), run) for number in range(20)], {}))
    assert len(asked) < 20  # those that had begun, of two for each question at least


def test_large_networks_take_turns() -> None:
    busy: list[str] = []

    def run(workers: Any, inputs: object, double: bool, every_module: bool) -> Answer:
        busy.append(*workers)
        sleep(0.01)
        assert len(busy) == 1
        busy.clear()
        return answer(workers, double)

    large = {"weight": np.broadcast_to(np.float32(0), (200_000_000,))}
    list(judge(SPEC, 1, WORKERS, [question("first", run), question("second", run)], large))
