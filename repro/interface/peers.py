"""The peers with which repro.bench compares: a framework's own networks and loaders, as its users call them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from repro.errors import ReproError, first_line
from repro.interface.discovery import import_package
from repro.specs import find_spec

if TYPE_CHECKING:
    import numpy as np


class Peer(NamedTuple):
    """A network in the plain loop of its framework's users, on the device that use_device has chosen.

    predict: the evaluation of a batch of images; step: a training step with images and labels. Both wait for their
    results, and take tensors as `tensors` makes them and `batches` yields them, in the memory of the CPU.
    """

    predict: Callable[[Any], object]
    step: Callable[[Any, Any], object]


class Peers(Protocol):
    """The module `peers` of a backend's package, which needs the framework only once a function is called."""

    PACKAGES: tuple[str, ...]  # what the functions need from a package index
    ZOO: Mapping[str, str]  # the zoo's name of each variant that it has, too

    def plain_loop(self, network: Any, *, precision: str) -> Peer:
        """A network of the framework. Raises ReproError for a precision that the framework lacks."""

    def zoo_networks(self, name: str, *, classes: int, precision: str) -> dict[str, Peer]:
        """The zoo's network, in each memory format that its users choose; the first is the default.

        Raises ImportError where the zoo is missing, and ReproError as plain_loop does.
        """

    def tensors(self, images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        """The framework's tensors of images float32 (N, 3, S, S) and labels int64 (N,)."""

    def batches(self, folder: Path, *, image_size: int, batch_size: int, workers: int) -> Iterable[tuple[Any, Any]]:
        """The batches of a folder of CLASS/IMAGE in random order, by the framework's loader, anew in each iteration.

        Images are cropped at random, flipped and normalised; an incomplete batch is dropped. workers: processes that
        load images, which are kept between iterations; 0 loads them in this process.
        """


def load_peers(backend: str) -> Peers:
    """Return the peers of a backend. Raises ReproError for a backend that is unknown, shadowed or without peers."""
    package = import_package(backend)
    try:
        return cast("Peers", importlib.import_module(f"{package.__name__}.peers"))
    except ModuleNotFoundError as error:
        raise ReproError(f"backend {backend} has no peers to measure; choose torch, paddle or mindspore") from error


def peer_name(backend: str, model: str) -> str:
    """Return the zoo's name of a variant. Raises ReproError for an unknown variant and for one without a peer."""
    find_spec(model)
    zoo = load_peers(backend).ZOO
    if model not in zoo:
        raise ReproError(f"{model} has no peer in the zoo of {backend}; choose among {', '.join(zoo)}")
    return zoo[model]


def missing_peer(backend: str, error: ImportError) -> ReproError:
    """Return the error for a peer whose packages are not installed."""
    packages = " ".join(load_peers(backend).PACKAGES)
    return ReproError(f"the peer of {backend} cannot be imported ({first_line(error)}); pip install {packages}")
