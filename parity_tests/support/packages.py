"""The packages whose layouts we know, each in a process of its own: builds a model with random weights, saves it by the
package's own means, and says what it computes."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from repro.specs import find_spec
from repro.weights.layouts import Layout
from repro.workers.client import interpreter

# In MindSpore: gives MindCV's layers, which are in the order of the forward pass, the weights of our operators
FILL = """
from mindspore import Tensor
from backends.mindspore.native_weights import NAMES

def fill(layers, spec, arrays):
    operators = spec.trace().operators
    assert len(layers) == len(operators)
    for cell, operator in zip(layers, operators):
        names = [name for name in arrays if name.rpartition(".")[0] == operator.name]
        own = {parameter.name.rpartition(".")[2]: parameter for parameter in cell.get_parameters()}
        assert len(names) == len(own)
        for name in names:
            target = own[NAMES.name(name, spec.weights[name]).rpartition(".")[2]]
            assert target.shape == arrays[name].shape, name
            target.set_data(Tensor(arrays[name]))
"""

# Reads lines of JSON {expression, file, answer}; answers with inputs and logits in a .npz. `build`, `parameters`,
# `save` and `run` are the package's own means; `parameters` yields (name, shape, setter).
SERVER = """
import json, os, sys
import numpy as np
{setup}
def draw(name, shape, gain, rng):
    # as repro.weights.init.random_weights does: what explodes, gates saturate on, and rounding decides which way
    leaf = name.rpartition(".")[2].rpartition("/")[2]
    if len(shape) > 1:
        return rng.normal(0, (gain / (np.prod(shape) / shape[out_axis(len(shape))])) ** 0.5, shape)
    if leaf in ("running_var", "_variance", "moving_variance", "gamma", "weight"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.1, shape)
for line in sys.stdin:
    job = json.loads(line)
    rng = np.random.default_rng(0)
    model = build(job["expression"])
    found = list(parameters(model))
    depth = sum(len(shape) > 1 for _, shape, _ in found)
    for name, shape, fill in found:
        fill(draw(name, shape, 2 * (32 / max(32, depth)) ** 0.5, rng).astype(np.float32))
    exec(job["adapt"])
    save(model, job["file"])
    images = {{str(size): rng.standard_normal((2, 3, size, size)).astype(np.float32) for size in job["sizes"]}}
    logits = {{"logits" + size: np.asarray(run(model, x)) for size, x in images.items()}}
    np.savez(job["answer"], **{{"images" + size: x for size, x in images.items()}}, **logits)
    print("DONE", flush=True)
"""
TORCH = """
import torch
{imports}
out_axis = lambda ndim: 0
def build(expression):
    return {build}
def parameters(model):
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            yield name, tuple(tensor.shape), lambda value, tensor=tensor: tensor.copy_(torch.from_numpy(value))
def save(model, path):
    torch.save(model.state_dict(), path)
@torch.no_grad()
def run(model, x):
    return model.eval()(torch.from_numpy(x)).numpy()
"""
SETUPS = {
    "torchvision": TORCH.format(
        imports="import torchvision",
        build='eval("torchvision.models." + expression + ("" if ")" in expression else "()"))',
    ),
    "timm": TORCH.format(imports="import timm", build="timm.create_model(expression)"),
    "paddle.vision": """
import paddle
out_axis = lambda ndim: 1 if ndim == 2 else 0
def build(expression):
    return eval("paddle.vision.models." + expression + ("" if ")" in expression else "()"))
def parameters(model):
    for name, tensor in model.state_dict().items():
        yield name, tuple(tensor.shape), tensor.set_value
def save(model, path):
    paddle.save(model.state_dict(), path)
def run(model, x):
    model.eval()
    with paddle.no_grad():
        return model(paddle.to_tensor(x)).numpy()
""",
    "mindcv": """
import mindspore
from mindspore import Tensor
import mindcv.models
mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
out_axis = lambda ndim: 0
def build(expression):
    return eval("mindcv.models." + expression + ("" if ")" in expression else "()"))
def parameters(model):
    for name, parameter in model.parameters_dict().items():
        yield name, tuple(parameter.shape), lambda value, parameter=parameter: parameter.set_data(Tensor(value))
def save(model, path):
    mindspore.save_checkpoint(model, path)
def run(model, x):
    return model.set_train(False)(Tensor(x)).asnumpy()
""",
    "keras": """
os.environ["KERAS_BACKEND"] = "torch"
import keras
out_axis = lambda ndim: -1
def build(expression):
    settings = ", input_shape=(64, 64, 3), classifier_activation=None)"
    return eval("keras.applications." + expression.replace(")", settings))
def parameters(model):
    for variable in model.variables:
        yield variable.path, tuple(variable.shape), variable.assign
def save(model, path):
    model.save_weights(path)
def run(model, x):
    import torch
    with torch.no_grad():
        return model(x.transpose(0, 2, 3, 1), training=False).detach().cpu().numpy()
""",
}
FRAMEWORK = {
    "torchvision": "torch",
    "timm": "torch",
    "paddle.vision": "paddle",
    "mindcv": "mindspore",
    "keras": "torch",
}
FILES = {"torch": ".pth", "paddle": ".pdparams", "mindspore": ".ckpt", "keras": ".weights.h5"}
# what makes the package's network the one that the layout says; named in the table
ADAPT = {("timm", "rdnet"): "model.head.norm.eps = 1e-5"}


class Package:
    """The process of one package."""

    def __init__(self, publisher: str) -> None:
        self.publisher = publisher
        # a pipe that nobody empties would stop a package that says much
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [interpreter(FRAMEWORK[publisher]), "-c", SERVER.format(setup=SETUPS[publisher])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            env=os.environ | {"GLOG_v": "3" if publisher == "mindcv" else "0"},
        )  # fmt: skip

    def make(self, layout: Layout, model: str, folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
        """The file of a random model, and images and logits by their size."""
        family = find_spec(model).family
        file = folder / f"theirs{FILES[layout.format]}"
        job = {
            "expression": layout.models[model],
            "file": str(file),
            "answer": str(folder / "answer.npz"),
            # even maps are where the notes say that they differ; Keras's networks take one size
            "sizes": [65] if layout.note else [64] if layout.format == "keras" else [64, 65],
            "adapt": ADAPT.get((self.publisher, family), ""),
        }
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("DONE"):
                with np.load(folder / "answer.npz") as answer:
                    return file, dict(answer)
        self.log.seek(0)
        raise AssertionError(f"{self.publisher} {layout.models[model]}: {self.log.read()[-3000:]}")

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.communicate()
        self.log.close()


@contextmanager
def packages() -> Iterator[Any]:
    """`package(publisher)` gives the process of a package, which is started once."""
    started: dict[str, Package] = {}

    def package(publisher: str) -> Package:
        if publisher not in started:
            for other in list(started):  # one at a time: they are large
                started.pop(other).close()
            started[publisher] = Package(publisher)
        return started[publisher]

    try:
        yield package
    finally:
        for process in started.values():
            process.close()
