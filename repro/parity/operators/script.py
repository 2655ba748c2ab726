"""Scripts that need a single framework, which the workers run, and which a bug report can quote."""

from __future__ import annotations

import re
from collections.abc import Mapping

from repro.parity.operators.operator import Code, Input, Operator, Value, describe

IMPORTS = {
    "torch": "import torch\nimport torch.nn.functional as F",
    "paddle": "import paddle\nimport paddle.nn.functional as F",
    "mindspore": "import mindspore as ms\nfrom mindspore import nn, ops",
}
TENSOR = {"torch": "torch.tensor({})", "paddle": "paddle.to_tensor({})", "mindspore": "ms.Tensor({})"}
TO_NUMPY = {"torch": "{}.detach().numpy()", "paddle": "{}.numpy()", "mindspore": "{}.asnumpy()"}
# Positive, so that a gradient that is shared among ties in any way stays between the derivatives on both sides
UPSTREAM = (
    "upstream = (1.5 + np.cos(np.arange(results['y'].size))).reshape(results['y'].shape)\n"
    "upstream = upstream.astype(results['y'].dtype)"
)
VERSION = {"torch": "torch.__version__", "paddle": "paddle.__version__", "mindspore": "ms.__version__"}


def standalone_script(operator: Operator, framework: str, chosen: Mapping[str, Value]) -> str:
    """A program that computes the operator, forward and backward, and prints the results."""
    inputs = operator.all_inputs(chosen)
    lines = [f"# {operator.name} {describe(chosen)}".rstrip(), "import numpy as np", IMPORTS[framework], ""]
    if any("rng." in item.numbers for item in inputs.values()):
        lines.append("rng = np.random.default_rng(0)")
    for name, item in inputs.items():
        lines += [f"shape = {item.shape}", f"{name} = np.asarray({item.numbers}).astype('{item.dtype}')"]
    lines += ["", *_statements(operator, framework, chosen), "", f"print({VERSION[framework]})"]
    lines += ["for name, values in results.items():", "    print(name, values.tolist(), sep=' = ')"]
    return "\n".join(lines) + "\n"


def worker_script(operator: Operator, framework: str, chosen: Mapping[str, Value]) -> str:
    """The statements that turn the inputs, NumPy arrays under their names, into `results`, a dictionary of arrays."""
    return "\n".join([IMPORTS[framework], *_statements(operator, framework, chosen)])


def _statements(operator: Operator, framework: str, chosen: Mapping[str, Value]) -> list[str]:
    compute = _mindspore if framework == "mindspore" else _eager
    return compute(framework, operator.code(framework, chosen), operator.all_inputs(chosen), operator.differentiable)


def _eager(framework: str, code: Code, inputs: Mapping[str, Input], differentiable: tuple[str, ...]) -> list[str]:
    """PyTorch and Paddle, which record what is computed."""
    lines = [f"{name} = {TENSOR[framework].format(name)}" for name in inputs]
    attribute, value = ("requires_grad", True) if framework == "torch" else ("stop_gradient", False)
    lines += [f"{name}.{attribute} = {value}" for name in differentiable]
    lines += [*code.setup, f"y = {code.y}", *_collect(framework, code)]
    if differentiable:
        lines.append(UPSTREAM)
        lines.append(f"y.backward({TENSOR[framework].format('upstream')})")
        for name in differentiable:
            lines.append(f"if {name}.grad is not None:")
            lines.append(f"    results['gradient of {name}'] = {name}.grad.numpy()")
    return lines


def _mindspore(framework: str, code: Code, inputs: Mapping[str, Input], differentiable: tuple[str, ...]) -> list[str]:
    """MindSpore, which differentiates functions."""
    lines = [f"{name} = {TENSOR[framework].format(name)}" for name in inputs]
    lines += [*code.setup, f"y = {code.y}", *_collect(framework, code)]
    if differentiable:
        free = [name for name in differentiable if name not in code.parameters and name in re.findall(r"\w+", code.y)]
        weights = [parameter for name, parameter in code.parameters.items() if name in differentiable]
        lines.append(UPSTREAM)
        arguments = "".join(f", {name}" for name in free)
        owned = f", weights=ms.ParameterTuple([{', '.join(weights)}])" if weights else ""
        lines.append(f"_, pullback = ms.vjp(lambda {', '.join(free)}: {code.y}{arguments}{owned})")
        lines.append("gradients = pullback(ms.Tensor(upstream))")
        names = [*free, *(name for name in code.parameters if name in differentiable)]
        lines.append("flat = [*gradients[0], *gradients[1]]" if weights else "flat = gradients")
        lines.append(f"for name, gradient in zip({names}, flat):")
        lines.append("    results[f'gradient of {name}'] = gradient.asnumpy()")
    return lines


def _collect(framework: str, code: Code) -> list[str]:
    """The statements that keep copies of the results before anything else changes them."""
    results = {"y": "y", **code.outputs}
    copies = [f"    '{name}': {TO_NUMPY[framework].format(text)}.copy()," for name, text in results.items()]
    return ["results = {", *copies, "}"]
