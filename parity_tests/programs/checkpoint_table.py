"""The table of checkpoints as people have them and of what repro.port makes of each.

`python -m parity_tests.programs.checkpoint_table` needs torch and torchvision, and prints it for docs/checkpoints.md.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from parity_tests.programs.ordinary_checkpoints import KINDS, Kind, network
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.port import main
from repro.weights.porting import read_checkpoint

# Lines of repro.port that are the same for every checkpoint here
USUAL_LINES = ("skipped 52 integer scalars", "recognised the ", "read /", "wrote /")


class Row(NamedTuple):
    """A row of the table: the outcome of repro.port for a kind of checkpoint.

    flags: SRC, and the further arguments of repro.port; taken: the groups that are written; said: the lines about it,
    or the error; exact: whether the weights, and the EMA where there is one, are those of the network, bit for bit.
    """

    title: str
    flags: str
    taken: str
    said: list[str]
    exact: bool


def same(arrays: Arrays, expected: Arrays) -> bool:
    """Return whether two checkpoints have the same values; half precision keeps its type."""
    return arrays.keys() == expected.keys() and all(
        array.astype("float32").tobytes() == expected[name].astype(array.dtype).astype("float32").tobytes()
        for name, array in arrays.items()
    )


def port(kind: Kind, expected: Arrays, folder: Path) -> Row:
    """Write a checkpoint and convert it to MindSpore's format."""
    source, destination = folder / kind.file, folder / "DST"
    kind.save(network(), source)
    output, taken, exact = io.StringIO(), "nothing", False
    try:
        with contextlib.redirect_stdout(output):
            main([str(source), str(destination), "--to", "mindspore", *kind.flags])
    except ReproError as error:
        said = [f"error: {error}"]
    else:
        lines = output.getvalue().splitlines()
        said = [line for line in lines if not line.startswith(USUAL_LINES)]
        taken = lines[-1].rpartition(": ")[2]
        checkpoint = read_checkpoint(destination.with_suffix(".ckpt"), "mobilenet_v2_x0_35", log=str)
        exact = same(checkpoint.weights, expected) and (not checkpoint.ema or same(checkpoint.ema, expected))
    assert destination.with_suffix(".ckpt").exists() == (taken != "nothing")
    flags = " ".join([kind.file, *kind.flags])
    return Row(kind.title, flags, taken, [line.replace(f"{folder}/", "") for line in said], exact)


def port_all() -> Iterator[Row]:
    """Yield the row of every kind."""
    with tempfile.TemporaryDirectory() as name:
        torch.save(network().state_dict(), Path(name, "expected.pth"))
        expected = read_checkpoint(Path(name, "expected.pth"), log=str).weights
        for index, kind in enumerate(KINDS):
            folder = Path(name, str(index))
            folder.mkdir()
            yield port(kind, expected, folder)


def table(rows: Iterable[Row]) -> str:
    """Return the table of docs/checkpoints.md."""
    lines = ["| checkpoint | SRC and flags | taken | printed |", "|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row.title} | `{row.flags}` | {row.taken} | {'<br>'.join(row.said)} |")
    return "\n".join(lines)


def table_and_rows() -> tuple[str, list[Row]]:
    ported = list(port_all())
    return table(ported), ported


if __name__ == "__main__":
    print(table(port_all()))
