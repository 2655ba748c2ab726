"""A process that builds, saves and runs models of one package: `python -m parity_tests.programs.packages PUBLISHER`.

It reads jobs as lines of JSON and prints DONE after each; see parity_tests/support/packages.py. Each model gets random
weights, which do not let the signal of a deep network explode, as repro.weights.init.random_weights.
"""

from __future__ import annotations

import ast
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from operator import attrgetter
from typing import Any

import numpy as np

Parameter = tuple[str, tuple[int, ...], Callable[[np.ndarray], object]]  # name, shape, and a function that sets it


def call(module: Any, expression: str, **settings: object) -> Any:
    """Call a function in the module: "mobilenet_v2(width_mult=1.4)" or, without arguments, "mobilenet_v2"."""
    tree = ast.parse(expression, mode="eval").body
    if isinstance(tree, ast.Call):
        settings |= {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in tree.keywords}
        tree = tree.func
    return attrgetter(ast.unparse(tree))(module)(**settings)


class TorchPackage:
    """torchvision or timm. The methods are those of every package."""

    def __init__(self, publisher: str) -> None:
        self.publisher = publisher

    def build(self, expression: str) -> Any:
        """Return the model that an expression of a layout's `models` names."""
        if self.publisher == "timm":
            import timm

            return timm.create_model(expression)
        import torchvision

        return call(torchvision.models, expression)

    def parameters(self, model: Any) -> Iterator[Parameter]:
        """Yield all parameters and running statistics."""
        import torch

        def setter(tensor: Any) -> Callable[[np.ndarray], object]:
            return lambda value: tensor.copy_(torch.from_numpy(value))

        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                yield name, tuple(tensor.shape), setter(tensor)

    def out_axis(self, ndim: int) -> int:
        """Return the axis of the outputs in a weight with this number of axes."""
        return 0

    def save(self, model: Any, path: str) -> None:
        """Save the model with the package's own function."""
        import torch

        torch.save(model.state_dict(), path)

    def load(self, model: Any, path: str) -> None:
        """Load a file with the package's own function. It must hold every weight and nothing else."""
        import torch

        model.load_state_dict(torch.load(path, weights_only=True))

    def run(self, model: Any, images: np.ndarray) -> np.ndarray:
        """Return the logits for images (N, C, H, W)."""
        import torch

        with torch.no_grad():
            return model.eval()(torch.from_numpy(images)).numpy()


class PytorchcvPackage(TorchPackage):
    """pytorchcv, whose networks fit only 224 pixels: their pooling is made adaptive, which changes nothing at 224."""

    def __init__(self) -> None:
        super().__init__("pytorchcv")

    def build(self, expression: str) -> Any:
        import pytorchcv.model_provider
        from torch import nn

        model = call(pytorchcv.model_provider, expression)
        is_vgg = not hasattr(model.features, "final_pool")
        model.features.add_module("final_pool", nn.AdaptiveAvgPool2d(7 if is_vgg else 1))
        return model


class TransformersPackage(TorchPackage):
    """Hugging Face's transformers, which saves shards of safetensors into a folder."""

    def __init__(self) -> None:
        super().__init__("transformers")

    def build(self, expression: str) -> Any:
        import transformers

        name = expression.partition("(")[0]
        config = call(transformers, expression.replace("ForImageClassification", "Config"), num_labels=1000)
        return getattr(transformers, name)(config)

    def save(self, model: Any, path: str) -> None:
        model.save_pretrained(path, max_shard_size="4MB")

    def run(self, model: Any, images: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return model.eval()(torch.from_numpy(images)).logits.numpy()


class PaddlePackage:
    """paddle.vision."""

    def build(self, expression: str) -> Any:
        import paddle

        return call(paddle.vision.models, expression)

    def parameters(self, model: Any) -> Iterator[Parameter]:
        for name, tensor in model.state_dict().items():
            yield name, tuple(tensor.shape), tensor.set_value

    def out_axis(self, ndim: int) -> int:
        return 1 if ndim == 2 else 0

    def save(self, model: Any, path: str) -> None:
        import paddle

        paddle.save(model.state_dict(), path)

    def load(self, model: Any, path: str) -> None:
        import paddle

        assert model.set_state_dict(paddle.load(path)) == ([], [])

    def run(self, model: Any, images: np.ndarray) -> np.ndarray:
        import paddle

        model.eval()
        with paddle.no_grad():
            return model(paddle.to_tensor(images)).numpy()


class PaddleClasPackage(PaddlePackage):
    """PaddleClas. Its networks are imported without the package around them, which needs OpenCV and faiss."""

    def __init__(self) -> None:
        package = find_spec("paddleclas")
        assert package and package.submodule_search_locations
        sys.path.append(package.submodule_search_locations[0])

    def build(self, expression: str) -> Any:
        import paddle
        import ppcls.arch.backbone
        from ppcls.utils import logger

        logger.init_logger()  # the networks log while they are built
        with paddle.utils.unique_name.guard():  # two networks have parameters of the same names
            return call(ppcls.arch.backbone, expression)


class MindcvPackage:
    """MindCV."""

    def __init__(self) -> None:
        import mindspore

        mindspore.set_context(mode=mindspore.PYNATIVE_MODE)

    def build(self, expression: str) -> Any:
        import mindcv.models

        return call(mindcv.models, expression)

    def parameters(self, model: Any) -> Iterator[Parameter]:
        from mindspore import Tensor

        def setter(parameter: Any) -> Callable[[np.ndarray], object]:
            return lambda value: parameter.set_data(Tensor(value))

        for name, parameter in model.parameters_dict().items():
            yield name, tuple(parameter.shape), setter(parameter)

    def out_axis(self, ndim: int) -> int:
        return 0

    def save(self, model: Any, path: str) -> None:
        import mindspore

        mindspore.save_checkpoint(model, path)

    def load(self, model: Any, path: str) -> None:
        import mindspore

        missing, unexpected = mindspore.load_param_into_net(model, mindspore.load_checkpoint(path), strict_load=True)
        assert not missing
        assert not unexpected

    def run(self, model: Any, images: np.ndarray) -> np.ndarray:
        from mindspore import Tensor

        return model.set_train(False)(Tensor(images)).asnumpy()


class KerasPackage:
    """keras.applications, on PyTorch."""

    def __init__(self) -> None:
        os.environ["KERAS_BACKEND"] = "torch"

    def build(self, expression: str) -> Any:
        import keras

        return call(keras.applications, expression, input_shape=(64, 64, 3), classifier_activation=None)

    def parameters(self, model: Any) -> Iterator[Parameter]:
        for variable in model.variables:
            yield variable.path, tuple(variable.shape), variable.assign

    def out_axis(self, ndim: int) -> int:
        return -1

    def save(self, model: Any, path: str) -> None:
        model.save_weights(path)

    def load(self, model: Any, path: str) -> None:
        model.load_weights(path)

    def run(self, model: Any, images: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return model(images.transpose(0, 2, 3, 1), training=False).detach().cpu().numpy()


PACKAGES: dict[str, Callable[[], Any]] = {
    "torchvision": lambda: TorchPackage("torchvision"),
    "timm": lambda: TorchPackage("timm"),
    "pytorchcv": PytorchcvPackage,
    "transformers": TransformersPackage,
    "paddle.vision": PaddlePackage,
    "paddleclas": PaddleClasPackage,
    "mindcv": MindcvPackage,
    "keras": KerasPackage,
}


def draw(name: str, shape: tuple[int, ...], out_axis: int, gain: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a random parameter or running statistic."""
    leaf = name.rpartition(".")[2].rpartition("/")[2]
    if len(shape) > 1:
        return rng.normal(0, math.sqrt(gain / (math.prod(shape) / shape[out_axis])), shape)
    if leaf in ("running_var", "_variance", "moving_variance", "gamma", "weight"):
        return rng.uniform(0.5, 1.5, shape)
    return rng.normal(0, 0.1, shape)


def shapes(publisher: str, expression: str) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of all parameters and running statistics of a package's network."""
    package = PACKAGES[publisher]()
    return {name: shape for name, shape, _ in package.parameters(package.build(expression))}


def fill(package: Any, model: Any) -> None:
    """Give the model random weights."""
    rng = np.random.default_rng(0)
    parameters = list(package.parameters(model))
    depth = sum(len(shape) > 1 for _, shape, _ in parameters)
    for name, shape, assign in parameters:
        values = draw(name, shape, package.out_axis(len(shape)), 2 * math.sqrt(32 / max(32, depth)), rng)
        assign(values.astype(np.float32))


def do_job(package: Any, job: dict[str, Any]) -> None:
    """Build a model, load or write its weights in job["file"], and save images and logits to job["answer"]."""
    model = package.build(job["expression"])
    if job["load"]:
        package.load(model, job["file"])
    else:
        fill(package, model)
        package.save(model, job["file"])
    for path, value in job["changes"].items():
        module, _, attribute = path.rpartition(".")
        assert hasattr(attrgetter(module)(model), attribute)
        setattr(attrgetter(module)(model), attribute, value)
    answer = {}
    for size in job["sizes"]:
        images = np.random.default_rng(size).standard_normal((2, 3, size, size)).astype(np.float32)
        answer[f"images{size}"] = images
        answer[f"logits{size}"] = np.asarray(package.run(model, images))
    np.savez(job["answer"], **answer)


if __name__ == "__main__":
    server = PACKAGES[sys.argv[1]]()
    for line in sys.stdin:
        do_job(server, json.loads(line))
        print("DONE", flush=True)
