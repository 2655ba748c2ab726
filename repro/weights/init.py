"""Initial weights, drawn in NumPy so that every backend starts from the same arrays.

The rule of a spec (`spec.init`) draws convolutions and linear layers; CONSTANTS fills everything else, unless the
rule has an exception.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.specs import Spec, Weight

Rule = Callable[[np.random.Generator, Weight], np.ndarray]
RuleException = Callable[[np.random.Generator, str, Mapping[str, Weight]], np.ndarray | float | None]


def _fans(weight: Weight) -> tuple[int, int]:
    """Return fan in and fan out as torch counts them: (in / groups * kh * kw, out * kh * kw)."""
    out, channels_per_group, *kernel = weight.shape
    area = math.prod(kernel)
    return channels_per_group * area, out * area


def _normal(rng: np.random.Generator, weight: Weight, std: float) -> np.ndarray:
    """Draw from N(0, std^2)."""
    return rng.standard_normal(weight.shape) * std


def msra_prelu(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """Draw as MXNet's MSRAPrelu() (factor_type avg, slope 0.25), which AsymmNet's authors train with."""
    return _normal(rng, weight, math.sqrt(2 / (1 + 0.25**2) / (sum(_fans(weight)) / 2)))


def kaiming_fan_out(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """Draw as torchvision's MobileNets: He et al. (arXiv:1502.01852) by fan out; linear layers with std 0.01."""
    return _normal(rng, weight, 0.01 if weight.kind == "linear" else math.sqrt(2 / _fans(weight)[1]))


def efficientnet(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """Draw as EfficientNet's authors do in TensorFlow: normal by the fan out per group; linear layers uniform.

    The fan out of a depthwise 3x3 convolution is 9 here; torch counts 9 times the channels.
    """
    if weight.kind == "linear":
        limit = 1 / math.sqrt(weight.shape[0])
        return rng.uniform(-limit, limit, weight.shape)
    return _normal(rng, weight, math.sqrt(2 * weight.groups / _fans(weight)[1]))


def shufflenet(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """Draw as the authors of ShuffleNet V1 and V2: std 1 / (input channels per group), whatever the kernel.

    Linear layers have std 0.01.
    """
    return _normal(rng, weight, 0.01 if weight.kind == "linear" else 1 / weight.shape[1])


def shufflenet_exceptions(
    rng: np.random.Generator, name: str, weights: Mapping[str, Weight]
) -> np.ndarray | float | None:
    """Draw the first convolution with std 0.01; the shift of normalisations is 1e-4."""
    if name == "stem.conv.weight":
        return _normal(rng, weights[name], 0.01)
    return 1e-4 if weights[name].kind == "norm_shift" else None


def torch_default(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """Draw as torch's layers do: uniform by fan in (kaiming_uniform_ with a = sqrt(5))."""
    limit = 1 / math.sqrt(_fans(weight)[0])
    return rng.uniform(-limit, limit, weight.shape)


def torch_default_bias(rng: np.random.Generator, name: str, weights: Mapping[str, Weight]) -> np.ndarray | None:
    """Draw biases as torch's layers do: uniform within the limits of the layer's weight."""
    if weights[name].kind != "bias":
        return None
    limit = 1 / math.sqrt(_fans(weights[name.removesuffix("bias") + "weight"])[0])
    return rng.uniform(-limit, limit, weights[name].shape)


def rdnet(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """Draw as RDNet's authors: He et al. by fan in; linear layers as in torch."""
    if weight.kind == "linear":
        return torch_default(rng, weight)
    return _normal(rng, weight, math.sqrt(2 / _fans(weight)[0]))


def rdnet_bias(rng: np.random.Generator, name: str, weights: Mapping[str, Weight]) -> np.ndarray | None:
    """Draw the biases of convolutions as torch does; the classifier's bias is zero."""
    return None if name == "classifier.bias" else torch_default_bias(rng, name, weights)


def resnet(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """Draw as the authors of ResNet and DenseNet: He et al. by fan out; linear layers uniform, as in torch.

    Source: fb.resnet.torch and resnet-1k-layers; DenseNet's code follows them.
    """
    return torch_default(rng, weight) if weight.kind == "linear" else kaiming_fan_out(rng, weight)


def resnet_gates(rng: np.random.Generator, name: str, weights: Mapping[str, Weight]) -> float | None:
    """Return the bias of a shortcut's gate, -6: gates start nearly closed (arXiv:1603.05027, Table 1)."""
    return -6.0 if name.endswith(".gate.bias") else None


def glorot_uniform(rng: np.random.Generator, weight: Weight) -> np.ndarray:
    """Draw as Keras does by default (Glorot and Bengio, 2010)."""
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
# the weights that a rule draws in another way, and kinds in CONSTANTS that it draws; None: no exception
EXCEPTIONS: dict[str, RuleException] = {
    "shufflenet": shufflenet_exceptions,
    "torch_default": torch_default_bias,
    "rdnet": rdnet_bias,
    "resnet": resnet_gates,
}
CONSTANTS = {"bias": 0.0, "norm_scale": 1.0, "norm_shift": 0.0, "norm_mean": 0.0, "norm_var": 1.0, "layer_scale": 1e-6}


def seeded_generator(seed: int, name: str) -> np.random.Generator:
    """Return a generator seeded per name, so that the values of a weight do not depend on other weights.

    Raises ReproError for a negative seed.
    """
    if seed < 0:
        raise ReproError(f"seed must be at least 0, not {seed}")
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _initial(rng: np.random.Generator, name: str, spec: Spec) -> np.ndarray | float:
    """Draw one weight: by the exceptions of the rule, as a constant, or by the rule."""
    weight = spec.weights[name]
    if spec.init in EXCEPTIONS and (values := EXCEPTIONS[spec.init](rng, name, spec.weights)) is not None:
        return values
    return CONSTANTS[weight.kind] if weight.kind in CONSTANTS else RULES[spec.init](rng, weight)


def initialise(spec: Spec, seed: int) -> Arrays:
    """Return canonical float32 weights, drawn as the paper or its official code does (`spec.init`)."""
    return {
        name: np.broadcast_to(_initial(seeded_generator(seed, name), name, spec), weight.shape).astype(np.float32)
        for name, weight in spec.weights.items()
    }


def random_weights(spec: Spec, seed: int) -> Arrays:
    """Return canonical float32 weights for comparisons, in which a permuted, missing or exchanged array shows.

    No two channels are alike, no scale is 1 and no shift is 0. Deep networks get smaller convolutions: a residual
    network would otherwise double its signal in every block, which hides the shifts and means of the last blocks and
    finally overflows.
    """
    arrays = {}
    depth = sum(weight.kind == "conv" for weight in spec.weights.values())
    gain = 2 * math.sqrt(32 / max(32, depth))
    for name, weight in spec.weights.items():
        rng = seeded_generator(seed, name)
        if weight.kind in ("norm_scale", "norm_var", "layer_scale"):
            values = rng.uniform(0.5, 1.5, weight.shape)
        elif weight.kind in CONSTANTS or weight.kind == "other":
            values = rng.normal(0, 0.2, weight.shape)
        else:
            values = _normal(rng, weight, math.sqrt(gain / _fans(weight)[0]))
        arrays[name] = values.astype(np.float32)
    return arrays
