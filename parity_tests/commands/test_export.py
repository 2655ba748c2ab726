"""Tests of repro.export and repro.evaluation.onnx_check."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from parity_tests.conftest import RunProgram
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.export import main
from repro.interface.onnx_graph import normalise_graph
from repro.specs import Spec, find_spec
from repro.weights import safetensors_file
from repro.weights.init import random_weights

SIZE = 32
# These contain depthwise convolutions of large and small feature maps, every pooling, the channel shuffle, SAME and
# zero padding, and every activation. SHARED is exported by every backend.
SHARED = "shufflenet_v1_g3_x0_25"
MODELS = {
    "torch": [SHARED, "asymmnet_small_x0_35", "mobilenet_v2_x0_35"],
    "paddle": [SHARED, "efficientnet_v2_b0_same"],
    "mindspore": [SHARED, "asymmnet_small_x0_35", "rdnet_tiny"],
}
NOT_EXPORTED = {("mindspore", "rdnet_tiny"): "Exporting Erf operator is not yet supported"}  # docs/export.md
# The first logit of each image of SHARED, computed by torch in float64
FIRST_LOGITS = [66.47807729, 63.96802552, 58.06170197, 56.82862645, 60.04655161]
IMAGES = np.random.default_rng(7).standard_normal((5, 3, SIZE, SIZE), np.float32)


def logits(path: Path, images: np.ndarray = IMAGES) -> np.ndarray:
    """Return the logits of onnxruntime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (value,) = session.get_inputs()
    assert (value.name, value.type) == ("images", "tensor(float)")
    assert value.shape == ["batch", 3, *images.shape[2:]]
    return session.run(["logits"], {"images": images})[0]


@pytest.mark.slow
def test_every_backend_exports_or_reports_why_not(backend: str, tmp_path: Path, run_program: RunProgram) -> None:
    argument_lists = []
    for model in MODELS[backend]:
        source, destination = tmp_path / f"{model}.safetensors", tmp_path / f"{model}.onnx"
        metadata = {"model": model, "classes": '["rose"]', "image_size": "96"}
        safetensors_file.save(source, random_weights(find_spec(model), 3), metadata)
        argument_lists.append([str(source), str(destination), "--backend", backend, "--image-size", str(SIZE)])
    lines = run_program(backend, "export:export", argument_lists)
    for model, line in zip(MODELS[backend], lines, strict=True):
        path = tmp_path / f"{model}.onnx"
        if (backend, model) in NOT_EXPORTED:
            assert line.startswith("error: ") and NOT_EXPORTED[backend, model] in line
            assert "the network is the same in every backend: try --backend torch or paddle" in line
            assert not path.exists()
            continue
        start = f"wrote {path}: {model} for images (N, 3, {SIZE}, {SIZE}); largest difference between onnxruntime and "
        assert line.startswith(start)
        assert logits(path).shape == (5, 1000)
        metadata = {item.key: item.value for item in onnx.load(path).metadata_props}
        assert metadata | {"model": model, "classes": '["rose"]', "image_size": str(SIZE)} == metadata
    exported = {f"{model}.onnx" for model in MODELS[backend] if (backend, model) not in NOT_EXPORTED}
    sources = {f"{model}.safetensors" for model in MODELS[backend]}
    assert {path.name for path in tmp_path.iterdir()} == exported | sources
    first_logits = logits(tmp_path / f"{SHARED}.onnx")[:, 0]
    assert np.allclose(first_logits, FIRST_LOGITS, rtol=0, atol=2e-3)  # the largest logit is 282


def test_max_pooling_reads_the_zeros_of_a_pad() -> None:
    """onnxruntime merges a Pad into a MaxPool, which then ignores the border; negative pixels show the difference."""
    nodes = [
        helper.make_node("Pad", ["x", "borders"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[0] * 4),
    ]
    borders = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "borders")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, side, side])
        for name, side in (("x", SIZE), ("y", SIZE // 2))
    ]
    proto = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [borders]), ir_version=8)
    normalise_graph(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    pooled = session.run(None, {"images": -1 - np.abs(IMAGES)})[0]
    assert not pooled[:, :, 0].any() and pooled[:, :, 1:, 1:].all()


class MatrixBackend:
    """A backend whose model is one matrix, and that exports `matrix` if it is not None."""

    matrix: np.ndarray | None = None
    batch: object = "batch"
    raises: BaseException | None = None

    def create_model(self, spec: Spec) -> np.ndarray:
        return np.random.default_rng(1).standard_normal((spec.in_channels * SIZE**2, 1000), np.float32)

    def load_weights(self, model: np.ndarray, arrays: Arrays) -> None:
        assert arrays

    def forward(self, model: np.ndarray, images: np.ndarray) -> Arrays:
        return {"logits": images.reshape(len(images), -1) @ model}

    def export_onnx(self, model: np.ndarray, path: Path, size: int) -> None:
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
def matrix_backend(monkeypatch: pytest.MonkeyPatch) -> MatrixBackend:
    """The backend that repro.export uses."""
    backend = MatrixBackend()
    monkeypatch.setattr("repro.evaluation.onnx_check.load_backend", lambda name: backend)
    return backend


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A weight file that records an image size but not its model."""
    path = tmp_path / "weights.safetensors"
    safetensors_file.save(path, random_weights(find_spec("asymmnet_small_x0_35"), 5), {"image_size": str(SIZE)})
    return path


def test_a_missing_framework_is_reported_before_weights_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "paddle", None)
    message = refusal(capsys, tmp_path / "none.pth", tmp_path / "o.onnx", "--backend", "paddle")
    assert message.startswith("backend paddle cannot import its framework")


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the error of the command, after checking that it is one line and that no file has changed."""
    folder = Path(str(arguments[0])).parent
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ReproError) as caught:
        main([str(argument) for argument in arguments])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert "wrote" not in capsys.readouterr().out
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_default_image_size_is_that_of_the_checkpoint(
    matrix_backend: MatrixBackend, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(checkpoint), str(tmp_path / "a.onnx")]) == 0
    assert f"asymmnet_small_x0_35 for images (N, 3, {SIZE}, {SIZE})" in capsys.readouterr().out
    assert logits(tmp_path / "a.onnx").shape == (5, 1000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["o.onnx", "--backend", "toch"], "unknown backend 'toch': did you mean torch"),
        (["o.pth"], "o.pth does not end in .onnx"),
        (["there.onnx"], "there.onnx already exists; give another name"),
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
def test_bad_arguments_are_refused(
    arguments: list[str], message: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there.onnx").write_text("old")
    (tmp_path / "folder.onnx").mkdir()
    assert message in refusal(capsys, checkpoint, tmp_path / arguments[0], *arguments[1:])


@pytest.mark.parametrize(("name", "content"), [("w.safetensors", b"no"), ("w.pth", b"PK"), ("w.onnx", b""), ("w", b"")])
def test_files_that_are_not_checkpoints_are_refused(
    name: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert name in refusal(capsys, tmp_path / name, tmp_path / "o.onnx", "--model", "asymmnet_small")


@pytest.mark.parametrize("size", ["0", "99999999", "-3", "1e3", "9" * 5000, "²"])
def test_bad_image_sizes_in_metadata_are_refused(size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors_file.save(path, random_weights(find_spec("asymmnet_small_x0_35"), 5), {"image_size": size})
    assert "give --image-size" in refusal(capsys, path, tmp_path / "o.onnx")


def test_too_small_images_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
def test_failures_of_exporters_are_one_line(
    error: Exception,
    message: str,
    matrix_backend: MatrixBackend,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    matrix_backend.raises = error
    text = refusal(capsys, checkpoint, tmp_path / "o.onnx", "--backend", "paddle")
    assert message in text
    assert isinstance(error, (OSError, ImportError)) or "try --backend torch or mindspore" in text


def test_ctrl_c_leaves_no_file(matrix_backend: MatrixBackend, checkpoint: Path, tmp_path: Path) -> None:
    matrix_backend.raises = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        main([str(checkpoint), str(tmp_path / "o.onnx")])
    assert list(tmp_path.iterdir()) == [checkpoint]


def test_other_logits_are_refused(
    matrix_backend: MatrixBackend, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix_backend.matrix = matrix_backend.create_model(find_spec("asymmnet_small_x0_35"))
    matrix_backend.matrix[0, 3] += 0.01
    text = refusal(capsys, checkpoint, tmp_path / "o.onnx")
    assert "the network exported by torch computes other logits" in text
    assert "try --backend paddle or mindspore" in text


def test_a_fixed_batch_size_is_refused(
    matrix_backend: MatrixBackend, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix_backend.batch = 2
    assert "cannot export" in refusal(capsys, checkpoint, tmp_path / "o.onnx")
