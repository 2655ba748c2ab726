"""Evaluation by paddle.inference with oneDNN, which takes a half to an eighth of the time of eager mode on a CPU.

Its graph merges convolutions, normalisations and activations, and is made anew whenever weights change.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import paddle
from paddle import inference, nn
from paddle.static import InputSpec

from backends.paddle.introspection import forward, module_tensors
from repro.arrays import Arrays
from repro.errors import first_line
from repro.interface.threads import threads_in_environment

# The images after a change of weights that eager mode predicts, in pixels (21 of 224 x 224, 1,024 of 32 x 32). A graph
# is made in 1.2 s (ShuffleNetV2) to 4 s (ResNet-50), which it saves within 0.5 to 5 million pixels
EAGER_PIXELS = 1 << 20


class Traced(nn.Layer):
    """A model whose call is recorded as a graph. `names` are the names of each output: a variable may have several."""

    def __init__(self, model: Any, record: Callable[[Any, Any], dict[str, Any]]):
        """record: (model, images) -> the tensors to return, by name."""
        super().__init__()
        self.model, self.record = model, record
        self.names: list[list[str]] = []

    @paddle.jit.not_to_static  # translating the networks' source, which has no branches by value, would take 10 s
    def forward(self, images: Any) -> list[Any]:
        outputs: list[Any] = []
        self.names = []
        for name, variable in self.record(self.model, images).items():
            if variable.is_same(images):  # an input cannot be an output
                continue
            place = next((place for place, other in enumerate(outputs) if variable.is_same(other)), len(outputs))
            if place == len(outputs):
                outputs.append(variable)
                self.names.append([])
            self.names[place].append(name)
        return outputs


def logits_only(model: Any, images: Any) -> dict[str, Any]:
    """Return the logits by name."""
    return {"logits": model(images)}


def can_infer() -> bool:
    """Return whether the device is a CPU: on a GPU, eager mode is not slow, and the graph was not tried."""
    return paddle.get_device() == "cpu"


class Inference:
    """The graphs of a model in evaluation mode, by the shape (C, H, W) of their images."""

    def __init__(self, model: Any, record: Callable[[Any, Any], dict[str, Any]] = logits_only):
        self.model, self.record = model, record
        self.traced: dict[tuple[int, ...], Traced] = {}
        self.predictors: dict[tuple[int, ...], Any] = {}

    def forget_weights(self) -> None:
        """Drop the graphs, which hold a copy of the weights."""
        self.predictors.clear()

    def __call__(self, images: np.ndarray) -> Arrays:
        """Return the recorded outputs for images float32 (N, C, H, W). Raises whatever Paddle raises."""
        shape = images.shape[1:]
        if shape not in self.predictors:
            with silence():
                self.predictors[shape] = self._create_predictor(shape)
        predictor = self.predictors[shape]
        predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(np.ascontiguousarray(images))
        predictor.run()
        outputs = (predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names())
        arrays = zip(self.traced[shape].names, outputs, strict=True)
        return {name: array for names, array in arrays for name in names}

    def _create_predictor(self, shape: tuple[int, ...]) -> Any:
        if shape not in self.traced:
            traced = Traced(self.model, self.record)
            specs = [InputSpec([None, *shape], "float32")]
            self.traced[shape] = paddle.jit.to_static(traced, input_spec=specs, full_graph=True)
        self.traced[shape].eval()
        with TemporaryDirectory(prefix="repro-inference-") as folder:
            paddle.jit.save(self.traced[shape], f"{folder}/model")
            config = inference.Config(f"{folder}/model.json", f"{folder}/model.pdiparams")
            config.disable_gpu()
            config.enable_mkldnn()
            config.disable_glog_info()
            config.set_cpu_math_library_num_threads(threads_in_environment() or 1)  # as eager mode
            return inference.create_predictor(config)


class Evaluation:
    """Logits in evaluation mode, by a graph or in eager mode.

    fused: whether to use a graph; None to do so after EAGER_PIXELS with the same weights, so that a few images do not
    wait for it. The choice depends on nothing else, so that a resumed run has the bits of one without a break.
    """

    def __init__(self, model: Any, *, fused: bool | None):
        self.model, self.fused = model, fused
        self.infer = Inference(model)
        self.eager_pixels = 0

    def forget_weights(self) -> None:
        """Drop the graphs and the count of images, since the weights have changed."""
        self.eager_pixels = 0
        self.infer.forget_weights()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the logits (N, classes) of images (N, C, H, W)."""
        if self._pays_off and images.dtype == np.float32 and can_infer():
            try:
                return self.infer(images)["logits"]
            except Exception as error:  # Paddle raises errors of many types
                if self.fused:
                    raise
                print(f"paddle.inference fails ({first_line(error)}); predictions are eager", file=sys.stderr)
                self.fused = False
        self.eager_pixels += images[:, 0].size
        self.model.eval()
        with paddle.no_grad():
            return self.model(paddle.to_tensor(images)).numpy()

    def modules(self, images: np.ndarray) -> Arrays:
        """Return what every layer takes and returns, as Backend.forward does with every module."""
        if self.fused and can_infer():
            return Inference(self.model, partial(module_tensors, every_module=True))(images)
        return forward(self.model, images, every_module=True)

    @property
    def _pays_off(self) -> bool:
        return self.eager_pixels >= EAGER_PIXELS if self.fused is None else self.fused


@contextmanager
def silence() -> Iterator[None]:
    """Discard what Paddle's libraries write to stdout and stderr in the block: notes for its developers."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number, _ in saved:
            os.dup2(nowhere, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
