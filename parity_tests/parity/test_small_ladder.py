"""The small ladder: the smallest variant of every family on every rung, as with `--models smallest --rungs all`.

Networks above a billion MACs leave out rungs 6 and 7, and VGG-16 rung 8, too: they would take minutes there. Those
with a recipe train in test_recipes.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parity_tests.support.sizes import slow_if_large
from repro.parity.exact_rung import EXACT_RUNG
from repro.parity.ladder import RESTART_PARAMS, RUNGS, run_rungs
from repro.specs import find_spec, smallest_variants
from repro.workers.client import Worker

FORWARD = [0, 1, 2, EXACT_RUNG]
TRAINING = [rung for rung in RUNGS if rung not in FORWARD]
LARGE_MACS = 1_000_000_000


def cases() -> Iterator[object]:
    """Yield the variants with the rungs of each case."""
    for model in smallest_variants():
        spec = find_spec(model)
        training = [3, 4, 5] if spec.macs > LARGE_MACS else TRAINING
        if spec.family == "vgg":  # its 138 million weights are made once
            yield pytest.param(model, [0, 1, 2, *training], id=model, marks=pytest.mark.slow)
            continue
        yield pytest.param(model, FORWARD, id=f"{model}-forward", marks=slow_if_large(model))
        yield pytest.param(model, training, id=f"{model}-training", marks=pytest.mark.slow)


@pytest.mark.parametrize(("model", "rungs"), list(cases()))
def test_sound_backends_agree(model: str, rungs: list[int], judged_workers: dict[str, Worker]) -> None:
    workers = judged_workers
    records = list(run_rungs(model, rungs, workers))
    if find_spec(model).params > RESTART_PARAMS:  # frameworks keep all memory that they have used
        for worker in workers.values():
            worker.close()
            worker.ensure_running()
    assert [(record.rung, record.backend) for record in records] == [(r, name) for r in rungs for name in workers]
    assert [record.sentence for record in records if record.diverges] == []
    assert all(record.verdict == "equal" for record in records if record.rung in (0, EXACT_RUNG))
    # the share that is proved: all results but those of SiLU, GELU, the sigmoid and layer normalisation
    least = 0.7 if find_spec(model).family in ("rdnet", "efficientnet_v2") else 1.0
    for record in records:
        if record.rung == EXACT_RUNG:
            assert len(record.profile) >= least * (len(record.profile) + len(record.unproved)), record.unproved
            assert len(record.profile) > len(find_spec(model).trace().operators)
    # float32 never equals float64 by chance, so an error above 0 shows that the comparison took place
    assert all(record.max_error for record in records if 0 < record.rung < 7)
