"""Messages by which the ranks of a run, on whichever machines, tell the main process how far they are.

A rank that hangs lets all others wait. It is the one that is behind them.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from repro.data import Batch
from repro.interface.processes import ProcessGroup, main_address

EVERY = 5  # the looks from one message to the next
FIRST_BATCHES = 3  # these may take any time after a start, and where shapes may change: frameworks compile
SLOWEST = 10  # a rank may take this many times as long as the slowest batch so far
AFTER_THE_LAST = 2**31  # in place of the number of a batch
PATIENCE = 300  # looks until ranks that were not heard are missed
UNNOTICED = "a rank that hangs will not be noticed"
NO_SIGN = "gives no sign of life"


class Place(NamedTuple):
    """A place in the run. Their order is that in which every rank reaches them."""

    epoch: int = 0
    is_validation: bool = False
    batch: int = 0  # counted from 1
    is_computed: bool = False  # the batch is loaded

    def __str__(self) -> str:
        kind = "validation batch" if self.is_validation else "step"
        if self.batch == AFTER_THE_LAST:
            return f"after the last {kind} of epoch {self.epoch}"
        return f"{'in' if self.is_computed else 'loading the images of'} {kind} {self.batch} of epoch {self.epoch}"


START = Place()


@dataclass
class Position:
    """The place of this rank, which the training loop moves on."""

    place: Place = START
    may_take_long: bool = True
    announce: Callable[[], object] = lambda: None  # called before what may take long, and may block all threads
    _recipes: dict[bool, object] = field(default_factory=dict)  # the last one of training and of validation

    def move(self, place: Place, *, may_take_long: bool) -> None:
        """Take another place."""
        is_news = may_take_long and not self.may_take_long
        self.place, self.may_take_long = place, may_take_long
        if is_news:
            self.announce()

    def through(
        self, batches: Iterable[Batch], epoch: int, recipe: object, *, is_validation: bool = False, start: int = 0
    ) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `start`, and move on with each.

        The first ones may take long if the recipe is not that of the epoch before, and so may one that has another
        shape than the one before, such as the last one of validation.
        """
        first = FIRST_BATCHES if self._recipes.get(is_validation) != recipe else 0
        self._recipes[is_validation] = recipe
        number, shape = start + 1, None
        self.move(Place(epoch, is_validation, number), may_take_long=first > 0)
        for batch in batches:
            may_take_long = number - start <= first or batch[0].shape != shape is not None
            shape = batch[0].shape
            self.move(Place(epoch, is_validation, number, is_computed=True), may_take_long=may_take_long)
            yield batch
            number += 1
            self.move(Place(epoch, is_validation, number), may_take_long=may_take_long)
        self.move(Place(epoch, is_validation, AFTER_THE_LAST), may_take_long=True)

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Let the work in the context take long, such as writing a file."""
        before = self.may_take_long
        self.move(self.place, may_take_long=True)
        yield
        self.move(self.place, may_take_long=before)


class Lost(NamedTuple):
    """The ranks that hang, and a sentence about them."""

    ranks: list[int]
    sentence: str


@dataclass
class Rank:
    """A rank as its last message describes it."""

    rank: int
    name: str = ""  # "process 4242 on node1"
    address: Any = None  # as the socket has it
    place: Place = START
    line: str = ""  # of the code that it is in
    may_take_long: bool = True
    looks_since_message: int = 0

    @property
    def is_silent(self) -> bool:
        """Return whether its last messages did not come."""
        return self.looks_since_message > 3 * EVERY


class Heartbeats:
    """The exchange of messages between the main process and the others, in datagrams, which may be lost.

    The others tell their places, and the main process answers. It decides which ranks hang: those that are the
    furthest behind, if they do not move on in `limit` looks and in SLOWEST times the longest time that any batch took
    so far. The others notice where the main process does not answer for so long.

    position: the place of this rank. main: the address of the main process; None in the main process itself.
    channel: a socket for datagrams. key: what messages from anybody else lack. limit: a number of looks.
    """

    def __init__(
        self,
        position: Position,
        processes: ProcessGroup,
        channel: socket.socket,
        main: tuple[Any, ...] | None,
        key: str,
        limit: int,
    ) -> None:
        self.position, self.channel, self.main, self.key, self.limit = position, channel, main, key, limit
        self.world_size = processes.world_size
        self.own = Rank(processes.rank, f"process {os.getpid()} on {socket.gethostname()[:64]}")
        self.ranks = {self.own.rank: self.own}  # those that were heard: all in the main process, rank 0 in the others
        self.lowest, self.waited = START, 0  # the place of those behind, and for how many looks
        self.looks = 0
        self.verdict: Lost | None = None
        channel.setblocking(False)
        position.announce = self.send
        self.send()

    def look(self) -> Lost | None:
        """Read messages, send one where it is time, and return the ranks that hang, if any do."""
        for rank in self.ranks.values():
            rank.looks_since_message += 1
        self._receive()
        self.looks += 1
        if self.looks % EVERY == 0:
            self.send()
        if self.verdict is None:
            self.verdict = self._deserted() if self.main else self._behind()
            if self.verdict and not self.main:
                self.send()
        return self.verdict

    @property
    def has_far_ranks(self) -> bool:
        """Return whether a rank that was heard is on another machine."""
        here = self.own.name.partition(" on ")[2]
        return any(rank.name.partition(" on ")[2] != here for rank in self.ranks.values())

    def silent(self) -> Lost | None:
        """Return a rank that no longer sends messages, if there is one."""
        lost = [rank for rank in self.ranks.values() if rank is not self.own and rank.is_silent]
        return _lost(lost[:1], NO_SIGN) if lost else None

    def send(self) -> None:
        """Tell the main process this rank's place, or all others the main process's."""
        self._note_own()
        own = self.own
        message = {
            "key": self.key, "rank": own.rank, "name": own.name, "place": own.place, "line": own.line,
            "may_take_long": own.may_take_long, "limit": self.limit, "verdict": self.verdict,
        }  # fmt: skip
        data = json.dumps(message).encode()
        for address in [self.main] if self.main else [rank.address for rank in self.ranks.values() if rank is not own]:
            with suppress(OSError):  # such as a full buffer, or an address that cannot be reached at the moment
                self.channel.sendto(data, address)

    def _note_own(self) -> None:
        own, position = self.own, self.position
        own.place, own.may_take_long, own.line = position.place, position.may_take_long, _line()
        own.looks_since_message = 0

    def _receive(self) -> None:
        """Read all messages that have come, and note the place of this rank."""
        with suppress(BlockingIOError):
            while True:
                try:
                    data, address = self.channel.recvfrom(2**16)
                except ConnectionError:  # nobody listens where the last message was sent
                    continue
                with suppress(ValueError, TypeError, KeyError, RecursionError):  # anybody may send anything
                    self._read(json.loads(data), address)
        self._note_own()

    def _read(self, message: dict[str, Any], address: Any) -> None:
        number = int(message["rank"])
        is_expected = number == 0 if self.main else 0 < number < self.world_size
        if not is_expected or not secrets.compare_digest(str(message["key"]).encode(), self.key.encode()):
            return
        place, may_take_long = Place(*message["place"]), bool(message["may_take_long"])
        self.ranks[number] = Rank(number, message["name"], address, place, message["line"], may_take_long)
        if self.main:
            self.limit = int(message["limit"])
            if message["verdict"]:
                self.verdict = Lost(*message["verdict"])

    def _behind(self) -> Lost | None:
        """Return the ranks that are the furthest behind, if they hang."""
        if missing := {*range(self.world_size)} - {*self.ranks}:
            if self.looks == PATIENCE:
                print(f"{UNNOTICED}: there are no messages from rank {min(missing)}", file=sys.stderr)
            return None
        place = min(rank.place for rank in self.ranks.values())
        last = [rank for rank in self.ranks.values() if rank.place == place]
        if place != self.lowest:
            self.limit = max(self.limit, SLOWEST * self.waited)
        may_take_long = any(rank.may_take_long for rank in last)
        self.waited = 0 if place != self.lowest or may_take_long else self.waited + 1
        self.lowest = place
        if self.waited < self.limit:
            return None
        if silent := [rank for rank in last if rank.is_silent]:
            return _lost(silent, f"{NO_SIGN} since it was {place}")
        return _lost(last, f"hangs {place}")

    def _deserted(self) -> Lost | None:
        """Return the main process if it does not answer."""
        main = self.ranks.get(0)
        if main is None or main.may_take_long or main.looks_since_message < self.limit:
            return None
        return _lost([main], f"{NO_SIGN} since it was {main.place}")


def _lost(ranks: list[Rank], trouble: str) -> Lost:
    """Return some ranks, and a sentence that names the first of them."""
    names = [f"rank {rank.rank} ({rank.name}) {trouble}{f', at {rank.line}' * bool(rank.line)}" for rank in ranks[:4]]
    return Lost([rank.rank for rank in ranks], "; ".join(names) + "; ..." * (len(ranks) > 4))


def _line() -> str:
    """Return the line of Python at which the main thread is, such as "training/loop.py:200"."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return f"{'/'.join(Path(frame.f_code.co_filename).parts[-2:])[-100:]}:{frame.f_lineno}" if frame else ""


def join_heartbeats(processes: ProcessGroup, position: Position, limit: int) -> Heartbeats | None:
    """Return the exchange of messages of this rank; None where there is no address for it. Collective.

    The main process listens at the address that the launcher gives, on a free port.
    """
    numbers = np.zeros(256)
    if processes.is_main:
        try:
            channel = _listen(main_address())
            text = json.dumps([channel.getsockname()[:2], secrets.token_hex(8)]).encode()
            numbers[: len(text)] = list(text)
        except OSError as error:
            print(f"{UNNOTICED}: cannot listen at {main_address() or 'no address'} ({error})", file=sys.stderr)
    text = bytes(processes.all_reduce_sum(numbers).astype(np.uint8)).rstrip(b"\0")
    if not text:
        return None
    (host, port), key = json.loads(text)
    if processes.is_main:
        return Heartbeats(position, processes, channel, None, key, limit)
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    return Heartbeats(position, processes, socket.socket(family, kind), address, key, limit)


def _listen(host: str) -> socket.socket:
    """Return a socket for datagrams at the address of this machine from which it would reach `host`."""
    family, kind, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as towards:
        towards.connect(address)  # sends nothing
        own = towards.getsockname()[0]
    channel = socket.socket(family, kind)
    channel.bind((own, 0))
    return channel
