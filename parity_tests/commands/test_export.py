"""ONNX files: onnxruntime computes with them what the frameworks do, or there is one line and no file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from repro.errors import ReproError
from repro.export import _complete, main
from repro.interface import discovery
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.init import random_weights

SIZE = 32
# With these come depthwise convolutions of large and small maps, every pooling, the shuffle, SAME and zero padding, and
# every activation; what is shared is the same network from every backend
SHARED = "shufflenet_v1_g3_x0_25"
MODELS = {
    "torch": [SHARED, "asymmnet_small_x0_35", "mobilenet_v2_x0_35"],
    "paddle": [SHARED, "efficientnet_v2_b0_same"],
    "mindspore": [SHARED, "asymmnet_small_x0_35", "rdnet_tiny"],
}
FAILS = {("mindspore", "rdnet_tiny"): "Exporting Erf operator is not yet supported"}  # docs/export.md
# The first logit of each image by SHARED, in torch in float64
FIRST = [66.47807729, 63.96802552, 58.06170197, 56.82862645, 60.04655161]
IMAGES = np.random.default_rng(7).standard_normal((5, 3, SIZE, SIZE), np.float32)


def logits(path: Path, images: np.ndarray = IMAGES) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type) == ("images", "tensor(float)")
    assert given.shape == ["batch", 3, *images.shape[2:]]
    return session.run(["logits"], {"images": images})[0]


def test_every_backend_exports_or_says_why_not(backend, tmp_path, run_in):
    for model in MODELS[backend]:
        spec = find_spec(model)
        safetensors_file.save(
            tmp_path / f"{model}.safetensors",
            random_weights(spec, 3),
            {"model": model, "classes": '["rose"]', "image_size": "96"},
        )
    said = run_in(
        backend,
        "from repro.errors import ReproError; from repro.export import main\n"
        f"for model in {MODELS[backend]}:\n"
        f"    path = '{tmp_path}/' + model\n"
        f"    flags = ['--backend', '{backend}', '--image-size', '{SIZE}']\n"
        "    try: main([path + '.safetensors', path + '.onnx', *flags])\n"
        "    except ReproError as error: print('error:', error)\n",
    )
    lines = [line for line in said.splitlines() if line.startswith(("wrote", "error"))]
    for model, line in zip(MODELS[backend], lines, strict=True):
        path = tmp_path / f"{model}.onnx"
        if (backend, model) in FAILS:
            assert FAILS[backend, model] in line
            assert "the network is the same in every backend: try --backend torch or paddle" in line
            assert not path.exists()
            continue
        assert line.startswith(f"wrote {path}: {model} for images (N, 3, {SIZE}, {SIZE}); largest difference of ")
        assert logits(path).shape == (5, 1000)
        metadata = {item.key: item.value for item in onnx.load(path).metadata_props}
        assert metadata | {"model": model, "classes": '["rose"]', "image_size": str(SIZE)} == metadata
    kept = {path.name for path in tmp_path.iterdir()}
    written = {f"{model}.onnx" for model in MODELS[backend] if (backend, model) not in FAILS}
    assert kept == written | {f"{model}.safetensors" for model in MODELS[backend]}
    assert np.allclose(logits(tmp_path / f"{SHARED}.onnx")[:, 0], FIRST, rtol=0, atol=2e-3)  # of logits up to 282


def test_onnxruntime_pools_zeros_where_the_network_does():
    """It merges a Pad with zeros into a MaxPool, which then ignores the border instead; negative numbers show it."""
    nodes = [
        helper.make_node("Pad", ["x", "borders"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[0] * 4),
    ]
    borders = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "borders")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, side, side])
        for name, side in (("x", SIZE), ("y", SIZE // 2))
    ]
    proto = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [borders]), ir_version=8)
    _complete(proto, {})
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {"images": -1 - np.abs(IMAGES)})[0]
    assert not found[:, :, 0].any() and found[:, :, 1:, 1:].all()


class Flat:
    """A backend whose model is one matrix, and which exports `matrix`."""

    matrix = None
    batch: object = "batch"
    raises: BaseException | None = None

    def create_model(self, spec):
        return np.random.default_rng(1).standard_normal((spec.in_channels * SIZE**2, 1000), np.float32)

    def load_weights(self, model, arrays):
        assert arrays

    def forward(self, model, images):
        return {"logits": images.reshape(len(images), -1) @ model}

    def export_onnx(self, model, path, size):
        if self.raises:
            path.write_bytes(b"half")
            raise self.raises
        weights = numpy_helper.from_array(model if self.matrix is None else self.matrix, "w")
        nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
        if self.batch != "batch":
            nodes[0] = helper.make_node("Reshape", ["x", "shape"], ["flat"])
        shape = numpy_helper.from_array(np.array([self.batch if self.batch != "batch" else 1, 3 * SIZE**2]), "shape")
        graph = helper.make_graph(
            nodes, "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [self.batch, 3, size, size])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [self.batch, 1000])],
            [weights, shape],
        )  # fmt: skip
        onnx.save(helper.make_model(graph, ir_version=8), path)


@pytest.fixture
def flat(monkeypatch):
    backend = Flat()
    monkeypatch.setattr(discovery, "load_backend", lambda name: backend)
    return backend


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors_file.save(path, random_weights(find_spec("asymmnet_small_x0_35"), 5), {"image_size": str(SIZE)})
    return path


def refusal(capsys, *arguments: object) -> str:
    """The error's one line; no file has changed or appeared."""
    folder = Path(str(arguments[0])).parent
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ReproError) as caught:
        main([str(argument) for argument in arguments])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert "wrote" not in capsys.readouterr().out
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_size_that_a_checkpoint_was_trained_at(flat, checkpoint, tmp_path, capsys):
    assert main([str(checkpoint), str(tmp_path / "a.onnx")]) == 0
    assert f"asymmnet_small_x0_35 for images (N, 3, {SIZE}, {SIZE})" in capsys.readouterr().out
    assert logits(tmp_path / "a.onnx").shape == (5, 1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["o.onnx", "--backend", "toch"], "unknown backend 'toch': did you mean torch"),
        (["o.pth"], "o.pth does not end in .onnx"),
        (["there.onnx"], "there.onnx is there already; give another name"),
        (["folder.onnx"], "folder.onnx is a folder"),
        (["none/o.onnx"], "No such file or directory"),
        (["o.onnx", "--model", "asymnet_small"], "did you mean"),
        (["o.onnx", "--model", "asymmnet_large"], "asymmnet_large"),
        (["o.onnx", "--option", "width"], "--option must be names with a number or text each"),
        (["o.onnx", "--from", "tim"], "unknown layout 'tim': did you mean timm"),
        (["o.onnx", "--image-size", "0"], "give --image-size a number from 1 to 4096"),
        (["o.onnx", "--image-size", "5000"], "give --image-size a number from 1 to 4096"),
    ],
)
def test_mistakes(arguments, message, checkpoint, tmp_path, capsys):
    (tmp_path / "there.onnx").write_text("old")
    (tmp_path / "folder.onnx").mkdir()
    assert message in refusal(capsys, checkpoint, tmp_path / arguments[0], *arguments[1:])


@pytest.mark.parametrize(("name", "content"), [("w.safetensors", b"no"), ("w.pth", b"PK"), ("w.onnx", b""), ("w", b"")])
def test_what_is_no_checkpoint(name, content, tmp_path, capsys):
    (tmp_path / name).write_bytes(content)
    assert name in refusal(capsys, tmp_path / name, tmp_path / "o.onnx", "--model", "asymmnet_small")


@pytest.mark.parametrize("size", ["0", "99999999", "-3", "1e3", "9" * 5000, "²"])
def test_a_file_that_lies_about_its_size(size, tmp_path, capsys):
    """No number of a file makes an image of that size."""
    path = tmp_path / "weights.safetensors"
    safetensors_file.save(path, random_weights(find_spec("asymmnet_small_x0_35"), 5), {"image_size": size})
    assert "give --image-size" in refusal(capsys, path, tmp_path / "o.onnx")


def test_too_small_an_image(tmp_path, capsys):
    safetensors_file.save(tmp_path / "w.safetensors", random_weights(find_spec("densenet121"), 0))
    assert "at least" in refusal(capsys, tmp_path / "w.safetensors", tmp_path / "o.onnx", "--image-size", "8")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("no such operator\nC++ stack"), "cannot export asymmnet_small_x0_35 (no such operator); "),
        (KeyError(), "cannot export asymmnet_small_x0_35 (KeyError); "),
        (
            ModuleNotFoundError("No module named 'onnxscript'"),
            "'onnxscript'); install what is missing with: pip install -e '.[export]' in repro's folder",
        ),
        (OSError(28, "No space left on device"), "o.onnx: No space left on device"),
    ],
)
def test_an_exporter_that_fails(error, message, flat, checkpoint, tmp_path, capsys):
    flat.raises = error
    said = refusal(capsys, checkpoint, tmp_path / "o.onnx", "--backend", "paddle")
    assert message in said
    assert isinstance(error, (OSError, ImportError)) or "try --backend torch or mindspore" in said


def test_interrupted(flat, checkpoint, tmp_path):
    flat.raises = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        main([str(checkpoint), str(tmp_path / "o.onnx")])
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_other_logits(flat, checkpoint, tmp_path, capsys):
    flat.matrix = flat.create_model(find_spec("asymmnet_small_x0_35"))
    flat.matrix[0, 3] += 0.01
    said = refusal(capsys, checkpoint, tmp_path / "o.onnx")
    assert "what torch exported computes other logits" in said
    assert "try --backend paddle or mindspore" in said


def test_a_fixed_batch(flat, checkpoint, tmp_path, capsys):
    flat.batch = 2
    assert "cannot export" in refusal(capsys, checkpoint, tmp_path / "o.onnx")
