"""Initial weights, drawn in NumPy so that every backend starts from the same arrays."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.specs import Spec, Weight

Rule = Callable[[np.random.Generator, Weight], np.ndarray]
Special = Callable[[np.random.Generator, str, Mapping[str, Weight]], np.ndarray | float | None]


def _fans(weight: Weight) -> tuple[int, int]:
    """Inputs and outputs of one position of the kernel: (in / groups * kh * kw, out * kh * kw)."""
    out, per_group, *kernel = weight.shape
    area = math.prod(kernel)
    return per_group * area, out * area


def _normal(rng: np.random.Generator, weight: Weight, std: float) -> np.ndarray:
    return rng.standard_normal(weight.shape) * std


def msra_prelu(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """MXNet's MSRAPrelu() (factor_type avg, slope 0.25), which the authors' training code for AsymmNet uses."""
    return _normal(rng, weight, math.sqrt(2 / (1 + 0.25**2) / (sum(_fans(weight)) / 2)))


def kaiming_fan_out(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """torchvision's MobileNets: He et al. (arXiv:1502.01852) over the fan out; linear layers N(0, 0.01)."""
    return _normal(rng, weight, 0.01 if weight.kind == "linear" else math.sqrt(2 / _fans(weight)[1]))


def efficientnet(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """The authors' TensorFlow code: normal over the fan out of each group (9 for a depthwise 3x3, where torch counts 9
    times the channels); linear layers uniform."""
    if weight.kind == "linear":
        limit = 1 / math.sqrt(weight.shape[0])
        return rng.uniform(-limit, limit, weight.shape)
    return _normal(rng, weight, math.sqrt(2 * weight.groups / _fans(weight)[1]))


def shufflenet(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """The authors' code of ShuffleNet V1 and V2: a deviation of one by the inputs of a group, whatever the kernel;
    linear layers N(0, 0.01)."""
    return _normal(rng, weight, 0.01 if weight.kind == "linear" else 1 / weight.shape[1])


def shufflenet_special(rng: np.random.Generator, name: str, weights: Mapping[str, Weight]) -> np.ndarray | float | None:
    """The first convolution N(0, 0.01); normalisations shift by 1e-4."""
    if name == "stem.conv.weight":
        return _normal(rng, weights[name], 0.01)
    return 1e-4 if weights[name].kind == "norm_shift" else None


def torch_default(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """What torch's layers start with: uniform, by the fan in (kaiming_uniform_ with a = sqrt(5))."""
    limit = 1 / math.sqrt(_fans(weight)[0])
    return rng.uniform(-limit, limit, weight.shape)


def torch_default_bias(rng: np.random.Generator, name: str, weights: Mapping[str, Weight]) -> np.ndarray | None:
    """Biases within the limits of the weight that they belong to."""
    if weights[name].kind != "bias":
        return None
    limit = 1 / math.sqrt(_fans(weights[name.removesuffix("bias") + "weight"])[0])
    return rng.uniform(-limit, limit, weights[name].shape)


def rdnet(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """The authors' code: He et al. over the fan in; linear layers as torch has them."""
    if weight.kind == "linear":
        return torch_default(rng, weight)
    return _normal(rng, weight, math.sqrt(2 / _fans(weight)[0]))


def rdnet_bias(rng: np.random.Generator, name: str, weights: Mapping[str, Weight]) -> np.ndarray | None:
    """The classifier's bias is zero; those of the convolutions stay as torch draws them."""
    return None if name == "classifier.bias" else torch_default_bias(rng, name, weights)


def resnet(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """The authors' code (fb.resnet.torch, resnet-1k-layers, and DenseNet's after them): He et al. over the fan out;
    linear layers uniform, as torch had it."""
    return torch_default(rng, weight) if weight.kind == "linear" else kaiming_fan_out(rng, weight)


def resnet_gates(rng: np.random.Generator, name: str, weights: Mapping[str, Weight]) -> float | None:
    """Gates of a shortcut start nearly closed, with the bias that served both of them (arXiv:1603.05027, Table 1)."""
    return -6.0 if name.endswith(".gate.bias") else None


def glorot_uniform(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """Keras's default (Glorot and Bengio, 2010)."""
    limit = math.sqrt(6 / sum(_fans(weight)))
    return rng.uniform(-limit, limit, weight.shape)


RULES: dict[str, Rule] = {
    "msra_prelu": msra_prelu,
    "kaiming_fan_out": kaiming_fan_out,
    "efficientnet": efficientnet,
    "shufflenet": shufflenet,
    "torch_default": torch_default,
    "rdnet": rdnet,
    "resnet": resnet,
    "glorot_uniform": glorot_uniform,
}
# what a rule does to single names, or to kinds that are constant elsewhere; None: nothing
SPECIAL: dict[str, Special] = {
    "shufflenet": shufflenet_special,
    "torch_default": torch_default_bias,
    "rdnet": rdnet_bias,
    "resnet": resnet_gates,
}
CONSTANTS = {"bias": 0.0, "norm_scale": 1.0, "norm_shift": 0.0, "norm_mean": 0.0, "norm_var": 1.0, "layer_scale": 1e-6}


def _generator(seed: int, name: str) -> np.random.Generator:
    """A stream of its own for each name, so that a weight's values do not depend on its neighbours."""
    if seed < 0:
        raise ReproError(f"seed must be at least 0, not {seed}")
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _initial(rng: np.random.Generator, name: str, spec: Spec) -> np.ndarray | float:
    weight = spec.weights[name]
    if spec.init in SPECIAL and (values := SPECIAL[spec.init](rng, name, spec.weights)) is not None:
        return values
    return CONSTANTS[weight.kind] if weight.kind in CONSTANTS else RULES[spec.init](rng, weight)


def initialise(spec: Spec, seed: int) -> Arrays:
    """Canonical float32 weights as the paper's code draws them (spec.init)."""
    return {
        name: np.broadcast_to(_initial(_generator(seed, name), name, spec), weight.shape).astype(np.float32)
        for name, weight in spec.weights.items()
    }


def random_weights(spec: Spec, seed: int) -> Arrays:
    """Canonical float32 weights for comparisons: no two channels alike and no scale 1 or shift 0, so that a permuted,
    forgotten or exchanged array shows. Deep networks get smaller convolutions: a residual one would double its
    signal with every block, which drowns the shifts and means of the last ones and overflows in the end."""
    arrays = {}
    depth = sum(weight.kind == "conv" for weight in spec.weights.values())
    gain = 2 * math.sqrt(32 / max(32, depth))
    for name, weight in spec.weights.items():
        rng = _generator(seed, name)
        if weight.kind in ("norm_scale", "norm_var", "layer_scale"):
            values = rng.uniform(0.5, 1.5, weight.shape)
        elif weight.kind in CONSTANTS or weight.kind == "other":
            values = rng.normal(0, 0.2, weight.shape)
        else:
            values = _normal(rng, weight, math.sqrt(gain / _fans(weight)[0]))
        arrays[name] = values.astype(np.float32)
    return arrays
