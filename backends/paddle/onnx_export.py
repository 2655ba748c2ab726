"""Export to ONNX by paddle2onnx, with two corrections.

paddle2onnx lacks a channel shuffle, which is replaced in a copy of the model; and version 2.1.0 fills a padding with
uninitialised memory, which is corrected in the file.
"""

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
    """A channel shuffle of operators that paddle2onnx knows."""

    def forward(self, x: Tensor) -> Tensor:
        _, channels, height, width = x.shape
        x = x.reshape([-1, self._groups, channels // self._groups, height * width])
        return x.transpose([0, 2, 1, 3]).reshape([-1, channels, height, width])


def export_onnx(model: Any, path: Path, size: int) -> None:
    """Write the model in evaluation mode as ONNX for images (N, C, size, size).

    Raises RuntimeError with the errors that paddle2onnx prints.
    """
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
        # in a process of its own, which paddle2onnx aborts where it cannot convert; not by paddle.onnx.export, which
        # would let pip install a package that folds constants
        finished = subprocess.run(
            [
                sys.executable, "-m", paddle2onnx.command.__name__, "--model_dir", folder,
                "--model_filename", "model.json", "--params_filename", "model.pdiparams",
                "--save_file", str(path), "--optimize_tool", "None",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    if finished.returncode:
        lines = (finished.stdout + finished.stderr).splitlines()
        errors = [line for line in lines if "ERROR" in line or "Error" in line]
        raise RuntimeError(" ".join(errors) or f"paddle2onnx exits with {finished.returncode}")
    proto = onnx.load(path)
    for node in proto.graph.node:
        if node.op_type == "Pad":
            del node.input[2:]  # the value; ONNX's default is zero, which all paddings here have
    onnx.save(proto, path)
