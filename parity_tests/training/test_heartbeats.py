"""Messages between ranks: which rank is behind, what may take long, and what is never taken for a hang."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from repro.data import Batch
from repro.interface.processes import ProcessGroup, main_address
from repro.training import heartbeats
from repro.training.heartbeats import AFTER_THE_LAST, EVERY, PATIENCE, Heartbeats, Place, Position, join_heartbeats

LIMIT = 30 * EVERY
KEY = "0123456789abcdef"


def channel() -> socket.socket:
    own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    own.bind(("127.0.0.1", 0))
    return own


@pytest.fixture
def ranks() -> Iterator[list[Heartbeats]]:
    """Three ranks that have heard of each other and train step 5 of epoch 1, as if all ran on other machines."""
    main = Heartbeats(Position(), ProcessGroup(0, 3), channel(), None, KEY, LIMIT)
    address = main.channel.getsockname()
    others = [Heartbeats(Position(), ProcessGroup(rank, 3), channel(), address, KEY, 1) for rank in (1, 2)]
    everyone = [main, *others]
    for rank in everyone:
        rank.position.move(Place(1, False, 5, True), may_take_long=False)
    look(everyone, EVERY)
    yield everyone
    for rank in everyone:
        rank.channel.close()


def look(ranks: list[Heartbeats], count: int) -> list[str]:
    """The sentence of each rank after some looks of all of them."""
    for _ in range(count):
        verdicts = [rank.look() for rank in ranks]
    return [verdict.sentence if verdict else "" for verdict in verdicts]


def move(ranks: list[Heartbeats], batch: int, *, is_computed: bool = True) -> None:
    for rank in ranks:
        rank.position.move(Place(1, False, batch, is_computed), may_take_long=False)


def test_the_rank_that_is_behind_hangs(ranks: list[Heartbeats]) -> None:
    move([ranks[0], ranks[2]], 6)
    move([ranks[1]], 6, is_computed=False)
    assert look(ranks, LIMIT) == ["", "", ""]
    sentences = look(ranks, 2 * EVERY)
    assert len({*sentences}) == 1
    assert sentences[0].startswith(f"rank 1 ({ranks[1].own.name}) hangs loading the images of step 6 of epoch 1, at ")
    assert ranks[2].verdict == ([1], sentences[0])


def test_ranks_that_hang_in_the_same_step_are_all_named(ranks: list[Heartbeats]) -> None:
    move([ranks[0]], 6)
    sentences = look(ranks, LIMIT + 2 * EVERY)
    assert [name.partition(" (")[0] for name in sentences[0].split("; ")] == ["rank 1", "rank 2"]
    assert "hangs in step 5 of epoch 1, at " in sentences[1]


def test_a_rank_without_messages_gives_no_sign_of_life(ranks: list[Heartbeats]) -> None:
    sentences = look(ranks[:2], LIMIT + 2 * EVERY)
    start = f"rank 2 ({ranks[2].own.name}) gives no sign of life since it was in step 5 of epoch 1"
    assert sentences[0].startswith(start)
    assert sentences[1] == sentences[0]
    assert ranks[0].silent() == ([2], sentences[0].replace(" since it was in step 5 of epoch 1", ""))


def test_the_others_miss_the_main_process(ranks: list[Heartbeats]) -> None:
    assert look(ranks[1:], LIMIT - EVERY) == ["", ""]
    for sentence in look(ranks[1:], 2 * EVERY):
        assert sentence.startswith(f"rank 0 ({ranks[0].own.name}) gives no sign of life since it was in step 5")


def test_a_rank_may_take_long_for_some_work(ranks: list[Heartbeats]) -> None:
    """The main process writes a checkpoint, and does not look meanwhile; then the others wait for a rank's compiler."""
    with ranks[0].position.pausing():
        move(ranks[1:], 6)
        assert look(ranks[1:], 3 * LIMIT) == ["", ""]
    move(ranks[:1], 6)
    assert look(ranks, EVERY) == ["", "", ""]
    ranks[1].position.move(Place(1, True, 1), may_take_long=True)
    move([ranks[0], ranks[2]], AFTER_THE_LAST)
    ranks[0].position.move(Place(1, True, 1, True), may_take_long=False)
    ranks[2].position.move(Place(1, True, 1, True), may_take_long=False)
    assert look([ranks[0], ranks[2]], 3 * LIMIT) == ["", ""]
    assert ranks[0].limit == LIMIT


def test_slow_batches_raise_the_limit(ranks: list[Heartbeats]) -> None:
    assert look(ranks, LIMIT - 1) == ["", "", ""]
    move(ranks, 6)
    assert look(ranks, 5 * LIMIT) == ["", "", ""]
    assert ranks[0].limit > 9 * (LIMIT - EVERY)
    assert ranks[1].limit == ranks[0].limit


def test_nothing_is_decided_before_all_are_heard(capsys: pytest.CaptureFixture[str]) -> None:
    with channel() as socket_of_main:
        main = Heartbeats(Position(may_take_long=False), ProcessGroup(0, 2), socket_of_main, None, KEY, LIMIT)
        assert look([main], 2 * PATIENCE) == [""]
    text = "a rank that hangs will not be noticed: there are no messages from rank 1\n"
    assert capsys.readouterr().err == text


def test_messages_from_anybody_else_are_ignored(ranks: list[Heartbeats]) -> None:
    good = {"key": KEY, "rank": 1, "name": "x", "place": [9, False, 1, True], "line": "", "may_take_long": False}
    bad = [{**good, "key": "0" * 16}, {**good, "rank": 3}, {**good, "rank": -1}, {**good, "rank": 0}, [], 7, None]
    bad += [{**good, "place": 3}, {**good, "place": [1, 2, 3, 4, 5]}, {**good, "rank": None}]
    ranks[0].look()
    before = ranks[0].ranks[1]
    with channel() as stranger:
        for data in (*(json.dumps(message).encode() for message in bad), b"", b"\xff\0", b"[" * 60_000, b"{}"):
            stranger.sendto(data, ranks[0].channel.getsockname())
            assert ranks[0].look() is None
            assert ranks[0].ranks[1] is before
        stranger.sendto(json.dumps(good).encode(), ranks[0].channel.getsockname())
        ranks[0].look()
    assert ranks[0].ranks[1].place.epoch == 9


def test_the_position_moves_on_with_the_batches() -> None:
    position, announced = Position(), []
    position.announce = lambda: announced.append(position.place)

    def places(
        epoch: int, recipe: str, sizes: tuple[int, ...] = (4,) * 5, **keywords: object
    ) -> list[tuple[str, bool]]:
        seen = []

        def batches() -> Iterator[Batch]:
            for size in sizes:
                seen.append((str(position.place), position.may_take_long))
                yield np.zeros((size, 3, 8, 8), np.float32), np.zeros(size, np.int64)

        for _ in position.through(batches(), epoch, recipe, **keywords):  # type: ignore[arg-type]
            seen.append((str(position.place), position.may_take_long))
        assert position.may_take_long
        return seen

    first = places(1, "small images", start=10)
    assert first[:2] == [("loading the images of step 11 of epoch 1", True), ("in step 11 of epoch 1", True)]
    assert [may_take_long for _, may_take_long in first] == [True] * 7 + [False] * 3
    assert str(position.place) == "after the last step of epoch 1"
    assert places(1, "small images", is_validation=True)[1] == ("in validation batch 1 of epoch 1", True)
    assert not any(may_take_long for _, may_take_long in places(2, "small images"))
    last = places(2, "small images", (4, 4, 2), is_validation=True)  # another shape, for which a framework may compile
    assert [may_take_long for _, may_take_long in last] == [False] * 5 + [True]
    assert places(3, "large images")[1] == ("in step 1 of epoch 3", True)
    assert [place.epoch for place in announced] == [1, 1, 2, 2, 3]
    assert [Place(1), Place(1, False, 2), Place(1, False, 2, True), Place(1, True, 1), Place(2)] == sorted(
        [Place(2), Place(1, True, 1), Place(1, False, 2, True), Place(1, False, 2), Place(1)]
    )


def test_ranks_find_the_main_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[np.ndarray] = []

    class Group(ProcessGroup):
        def all_reduce_sum(self, numbers: np.ndarray) -> np.ndarray:
            sent.append(numbers)
            return sent[0]

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    main = join_heartbeats(Group(0, 2), Position(), LIMIT)
    other = join_heartbeats(Group(1, 2), Position(), LIMIT)
    assert main
    assert other
    assert look([main, other], 2) == ["", ""]
    assert [*main.ranks] == [0, 1]
    for rank in (main, other):
        rank.channel.close()
    monkeypatch.setattr(heartbeats, "_listen", lambda host: channel().bind(("192.0.2.1", 0)))  # of no machine
    sent.clear()
    assert join_heartbeats(Group(0, 2), Position(), LIMIT) is None
    assert join_heartbeats(Group(1, 2), Position(), LIMIT) is None
    assert capsys.readouterr().err.startswith("a rank that hangs will not be noticed: cannot listen at localhost (")


@pytest.mark.parametrize(
    ("variables", "address"),
    [
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "10.9.0.1"}, "10.9.0.1"),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "fe80::1"}, "fe80::1"),
        ({"PADDLE_TRAINERS_NUM": "2", "PADDLE_CURRENT_ENDPOINT": "10.9.0.1:6170"}, "10.9.0.1"),
        ({"MS_WORKER_NUM": "2", "MS_SCHED_HOST": "node0"}, "node0"),
        ({"WORLD_SIZE": "1", "MASTER_ADDR": "10.9.0.1"}, ""),
    ],
)
def test_the_launchers_give_the_address_of_the_main_process(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], address: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main_address() == address


def test_the_position_names_a_line() -> None:
    assert Path(heartbeats._line().partition(":")[0]).name == "heartbeats.py"
