"""Modes: other ways in which a backend computes the same network, each with rounding of its own.

A mode is a backend with settings of its trainer, and a column of the ladder next to the backends. It is compared with
the same float64 reference on the rungs that it applies to: what it predicts, and if it trains, the forward pass in
training mode and the gradients. Two ranks are a mode, too: they train together on the rung of the trajectory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from repro.interface.discovery import backend_of
from repro.interface.processes import LAUNCHERS

INFERENCE_RUNGS = (1,)
TRAINING_RUNGS = (1, 2, 4)
RANKS_RUNGS = (6,)


@dataclass(frozen=True)
class Mode:
    """A way to compute.

    settings: fields of TrainSettings; rungs: those that it applies to; runtime: what computes the network that the
    backend exports, where the backend itself does not; reference: fields of TrainSettings of the single process that
    the reference is, where it is to compute the same by other means.
    """

    backend: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    rungs: tuple[int, ...] = TRAINING_RUNGS
    runtime: str = ""
    reference: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_ranks(self) -> bool:
        """Return whether several ranks train together."""
        return "world_size" in self.settings

    @property
    def request(self) -> dict[str, Any]:
        """The details of the request with which a worker enters the mode."""
        launcher = self.backend if self.has_ranks else ""
        return {"settings": dict(self.settings), "runtime": self.runtime, "launcher": launcher}

    @property
    def precision(self) -> str:
        """The type of convolutions and matrix products."""
        return str(self.settings.get("precision", "float32"))


MODES = {
    "torch:channels_last": Mode("torch", {"fused_evaluation": False}),
    "torch:fused": Mode("torch", {"fused_evaluation": True}, INFERENCE_RUNGS),
    "torch:compiled": Mode("torch", {"compiled": True}, (2, 4)),
    "torch:bfloat16": Mode("torch", {"precision": "bfloat16"}),
    "torch:float16": Mode("torch", {"precision": "float16"}),
    "paddle:inference": Mode("paddle", {"fused_evaluation": True}, INFERENCE_RUNGS),
    "mindspore:graph": Mode("mindspore", {"compiled": True, "fused_evaluation": False}),
    "mindspore:fused": Mode("mindspore", {"fused_evaluation": True}, INFERENCE_RUNGS),
    "mindspore:float16": Mode("mindspore", {"precision": "float16"}),
    "onnxruntime": Mode("torch", rungs=INFERENCE_RUNGS, runtime="onnxruntime"),
    # batch normalisation of a rank sees half of a batch, as in a single process that computes it in two parts
    **{
        f"{backend}:two_ranks": Mode(
            backend, {"world_size": 2, "accumulate": 1, "compiled": None}, RANKS_RUNGS, reference={"accumulate": 2}
        )
        for backend in LAUNCHERS
    },
    **{
        f"{backend}:sync_norm": Mode(backend, {"world_size": 2, "sync_norm": True, "compiled": None}, RANKS_RUNGS)
        for backend in LAUNCHERS
    },
}


def applies(column: str, rung: int) -> bool:
    """Return whether a backend or a mode is compared on a rung."""
    return column not in MODES or rung in MODES[column].rungs


def columns_on(rung: int, columns: Iterable[str]) -> list[str]:
    """Return the backends and modes that are compared on a rung."""
    return [column for column in columns if applies(column, rung)]


def precision_of(column: str) -> str:
    """Return the precision of a backend or a mode."""
    return MODES[column].precision if column in MODES else "float32"


def backend_of_column(column: str) -> str:
    """Return the backend that computes a column."""
    return MODES[column].backend if column in MODES else backend_of(column)
