"""The weights of a user model, in the order in which their modules run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repro.interface.module_outputs import INPUT_PREFIX
from repro.specs import Weight, WeightKind
from repro.weights.weight_pairs import is_pointwise, long_sides, weight_label

MATRIX_LEAVES = ("weight", "kernel", "embedding_table", "embeddings")  # ends of the names of matrices


@dataclass(frozen=True)
class WeightEntry:
    """One weight of a user model.

    layer: path of the module that owns it; ran: whether that module was seen to run; trained: whether the model's
    function returns it trainable; aliases: its further names, where modules share it; output: the sides of the module's
    output without the batch, in any order.
    """

    name: str
    shape: tuple[int, ...]
    kind: WeightKind
    groups: int
    layer: str
    ran: bool = True
    trained: bool = True
    aliases: tuple[str, ...] = ()
    output: tuple[int, ...] = ()

    def __str__(self) -> str:
        return weight_label(self.name, self.weight)

    @property
    def leaf(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]

    @property
    def weight(self) -> Weight:
        """The shape and kind without the place in the model."""
        return Weight(self.shape, self.kind, self.groups)

    @property
    def signature(self) -> tuple[Any, ...]:
        """Everything in which counterparts must agree: role, shape without axes of length 1, and groups."""
        return self._role, long_sides(self.shape), self.groups

    @property
    def _role(self) -> str:
        """The role of the weight, for which frameworks and users have layers of several types."""
        if self.kind in ("norm_shift", "bias"):
            return "shift"
        if self.kind in ("norm_scale", "layer_scale"):
            return "scale"
        if self.kind != "other":
            return "matrix" if is_pointwise(self.weight) else self.kind
        sides, leaf = len(long_sides(self.shape)), self.leaf
        if sides < 2:
            return "shift" if leaf.endswith(("bias", "beta")) else "scale"
        return "matrix" if sides == 2 and leaf.endswith(MATRIX_LEAVES) else "other"


def order_by_execution(
    rows: Iterable[Sequence[Any]], results: Iterable[str], shapes: Mapping[str, tuple[int, ...]] | None = None
) -> list[WeightEntry]:
    """The weights in the order in which their modules run.

    rows: as the request create_user_model returns them; results: the names that Backend.forward returns for every
    module; shapes: the shape of each result. A module that does not run itself stays after the one that was registered
    before it.
    """
    positions: dict[str, int] = {}
    for index, result in enumerate(results):
        positions.setdefault(result.removeprefix(INPUT_PREFIX), index)
    placed, position = [], -1
    for name, shape, kind, groups, layer, trained, aliases in rows:
        position = positions.get(layer, position)
        output = tuple(sorted(side for side in (shapes or {}).get(layer, ())[1:] if side > 1))
        ran = layer in positions
        entry = WeightEntry(name, tuple(shape), kind, groups, layer, ran, trained, tuple(aliases), output)
        placed.append((position, entry))
    return [entry for _, entry in sorted(placed, key=lambda pair: pair[0])]
