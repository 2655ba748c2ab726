"""The model as ONNX, by paddle2onnx, which has no channel shuffle and (2.1.0) fills a padding with whatever it finds in
memory: a copy of the model is exported without the one, and the other is put right in the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import paddle
from paddle import Tensor, nn
from paddle.static import InputSpec

from backends.paddle.model import create_model, export_weights, load_weights


class ChannelShuffle(nn.ChannelShuffle):
    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        x = x.reshape([-1, self._groups, channels // self._groups, height * width])
        return x.transpose([0, 2, 1, 3]).reshape([-1, channels, height, width])


def export_onnx(model: Any, path: Path, size: int) -> None:
    """Writes the model in evaluation mode for images (N, C, size, size)."""
    import onnx
    import paddle2onnx.command

    copy = create_model(model.spec)
    load_weights(copy, export_weights(model))
    copy.eval()
    for layer in copy.sublayers():
        if isinstance(layer, nn.ChannelShuffle):
            layer.__class__ = ChannelShuffle
    with TemporaryDirectory() as folder:
        paddle.jit.save(copy, f"{folder}/model", [InputSpec([None, model.spec.in_channels, size, size], "float32")])
        # In a process of its own, which it aborts where it cannot convert; and not by paddle.onnx.export, which would
        # have pip install a package to fold constants with
        done = subprocess.run(
            [
                sys.executable, "-m", paddle2onnx.command.__name__, "--model_dir", folder,
                "--model_filename", "model.json", "--params_filename", "model.pdiparams",
                "--save_file", str(path), "--optimize_tool", "None",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line or "Error" in line]
        raise RuntimeError(" ".join(said) or f"paddle2onnx ends with {done.returncode}")
    proto = onnx.load(path)
    for node in proto.graph.node:
        if node.op_type == "Pad":
            del node.input[2:]  # the value; without one it is zero, which all of ours are
    onnx.save(proto, path)
