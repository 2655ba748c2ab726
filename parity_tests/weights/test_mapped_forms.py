"""repro.port --mapping: weights that the models hold in other forms, such as packed, or as a linear layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from repro import port
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.weights.formats import read_file, write_file


def ported(source: str, destination: str) -> Arrays:
    assert port.main([source, destination, "--mapping", "names.yaml"]) == 0
    return read_file(Path(destination))[0]


def same(left: Arrays, right: Arrays) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in right)


FORMS = """
paddle:
  a.qkv.weight: [a.q.weight, a.k.weight, a.v.weight]
  a.qkv.bias: [a.q.bias, a.k.bias, a.v.bias]
  fc.weight: head.weight
  fc.bias: null
  scale: scale
  aux.weight: null
  null: [head.norm.weight, extra.weight]
mindspore:
  a.qkv.weight: a.qkv.weight
  a.qkv.bias: a.qkv.bias
  fc.weight: fc.weight
  fc.bias: fc.bias
  scale: scale
  aux.weight: aux.weight
weights:
  torch:
    a.qkv.weight: {kind: linear, shape: [6, 2]}
    a.qkv.bias: {kind: bias, shape: [6]}
    fc.weight: {kind: conv, shape: [3, 3, 1, 1]}
    fc.bias: {kind: bias, shape: [3]}
    scale: {kind: other, shape: [4, 1, 1]}
    aux.weight: {kind: linear, shape: [2, 2]}
  paddle:
    a.q.weight: {kind: linear, shape: [2, 2]}
    a.k.weight: {kind: linear, shape: [2, 2]}
    a.v.weight: {kind: linear, shape: [2, 2]}
    a.q.bias: {kind: bias, shape: [2]}
    a.k.bias: {kind: bias, shape: [2]}
    a.v.bias: {kind: bias, shape: [2]}
    head.weight: {kind: linear, shape: [3, 3]}
    scale: {kind: other, shape: [4]}
    head.norm.weight: {kind: norm_scale, shape: [3]}
    extra.weight: {kind: linear, shape: [2, 2]}
  mindspore:
    a.qkv.weight: {kind: linear, shape: [6, 2]}
    a.qkv.bias: {kind: bias, shape: [6]}
    fc.weight: {kind: linear, shape: [3, 3]}
    fc.bias: {kind: bias, shape: [3]}
    scale: {kind: other, shape: [1, 4]}
    aux.weight: {kind: linear, shape: [2, 2]}
"""


@pytest.fixture
def forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """The arrays of net.pth in the current folder, whose names.yaml gives them another form in each framework."""
    monkeypatch.chdir(tmp_path)
    Path("names.yaml").write_text(FORMS)
    rng = np.random.default_rng(0)
    shapes = {"a.qkv.weight": (6, 2), "a.qkv.bias": (6,), "fc.weight": (3, 3, 1, 1), "scale": (4, 1, 1),
              "aux.weight": (2, 2)}  # fmt: skip
    arrays = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    arrays["fc.bias"] = np.zeros(3, np.float32)
    write_file(Path("net.pth"), arrays, {})
    return arrays


def test_weights_of_another_form_are_ported_to_the_bit(forms: Arrays, capsys: pytest.CaptureFixture[str]) -> None:
    mindspore = ported("net.pth", "net.ckpt")
    assert mindspore["fc.weight"].shape == (3, 3) and mindspore["scale"].shape == (1, 4)
    assert same(ported("net.ckpt", "back.pth"), forms)
    paddle = ported("net.pth", "net.pdparams")
    assert "not in the source: 2 arrays of layers that only the other model has" in capsys.readouterr().out
    assert set(paddle) == {"a.q.weight", "a.k.weight", "a.v.weight", "a.q.bias", "a.k.bias", "a.v.bias", "head.weight",
                           "scale"}  # fmt: skip
    for index, part in enumerate("qkv"):
        assert np.array_equal(paddle[f"a.{part}.weight"].T, forms["a.qkv.weight"][2 * index : 2 * index + 2])
        assert np.array_equal(paddle[f"a.{part}.bias"], forms["a.qkv.bias"][2 * index : 2 * index + 2])
    assert np.array_equal(paddle["head.weight"].T, forms["fc.weight"][:, :, 0, 0])
    extra = {"head.norm.weight": np.ones(3, np.float32), "extra.weight": np.ones((2, 2), np.float32)}
    write_file(Path("net.pdparams"), paddle | extra, {})
    without_aux = {name: array for name, array in forms.items() if name != "aux.weight"}
    assert same(ported("net.pdparams", "back.pth"), without_aux)
    assert same(ported("net.pdparams", "there.ckpt"), {name: mindspore[name] for name in without_aux})
    assert same(ported("net.ckpt", "there.pdparams"), paddle)


def test_a_weight_that_the_other_model_lacks_must_change_nothing(forms: Arrays) -> None:
    write_file(Path("net.pth"), forms | {"fc.bias": np.array([0, 0, 1e-30], np.float32)}, {})
    with pytest.raises(ReproError, match=r"fc\.bias is not 0 everywhere, and the other model has no such weight"):
        ported("net.pth", "net.pdparams")
    assert not Path("net.pdparams").exists()
