"""Tests of repro.models and repro.specs.summary."""

from __future__ import annotations

import json

import pytest

from repro.errors import ReproError
from repro.models import main
from repro.specs import CATALOGUE, find_spec
from repro.specs.summary import layer_rows


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> list[str]:
    """Return the lines that the command prints."""
    assert main(list(argv)) == 0
    return capsys.readouterr().out.splitlines()


def test_every_variant_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert [line.split()[0] for line in printed(capsys)[1:]] == list(CATALOGUE)
    assert [row["name"] for row in json.loads("\n".join(printed(capsys, "--json")))] == list(CATALOGUE)


@pytest.mark.parametrize("name", CATALOGUE)
def test_layers_account_for_every_parameter_and_mac(name: str) -> None:
    spec = find_spec(name)
    rows = layer_rows(spec)
    assert sum(row["params"] for row in rows) == spec.params
    assert sum(row["macs"] for row in rows) == spec.macs
    assert len({row["name"] for row in rows}) == len(rows)


def test_the_layers_of_a_variant(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "vgg16", "--image-size", "64", "--num-classes", "5")
    assert lines[0].split() == ["layer", "kind", "output", "params", "MACs"]
    params, macs = 3 * 9 * 64 + 64, 3 * 9 * 64 * 64 * 64
    assert lines[1].split() == ["stages.0.0.conv", "conv", "64x64x64", f"{params:,}", f"{macs:,}"]
    assert lines[-2].split()[1:] == ["linear", "5", "20,485", "20,480"]
    assert lines[-1].split() == ["16", "layers", "134,281,029", "1,372,344,320"]
    rows = json.loads("\n".join(printed(capsys, "vgg16", "--image-size", "64", "--num-classes", "5", "--json")))
    assert rows[0] == {
        "name": "stages.0.0.conv",
        "kind": "conv",
        "output": [64, 64, 64],
        "params": params,
        "macs": macs,
    }
    assert any(row["kind"] == "scale" for row in layer_rows(find_spec("rdnet_tiny")))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["vgg61"], "unknown model 'vgg61': did you mean vgg19 or vgg16"),
        (["vgg16", "--image-size", "31"], "vgg16 takes images of at least 32 pixels, not 31"),
        (["vgg16", "--image-size", "0"], "--image-size must be a whole number"),
        (["vgg16", "--image-size", "big"], "--image-size must be a whole number"),
        (["vgg16", "--num-classes", "0"], "num_classes must be a whole number of at least 1"),
    ],
)
def test_bad_input_is_one_line(argv: list[str], message: str) -> None:
    with pytest.raises(ReproError, match=message) as error:
        main(argv)
    assert "\n" not in str(error.value)


def test_flags_for_layers_need_a_variant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--num-classes", "5"])
    assert "--image-size and --num-classes need NAME" in capsys.readouterr().err
