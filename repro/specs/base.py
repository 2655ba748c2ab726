"""The base of every spec, and the walk that counts weights, stages, parameters and MACs without any framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeVar

from repro.errors import ReproError, unknown

Shape = tuple[int, ...]  # without the batch axis: (channels, height, width) or (features,)
WeightKind = Literal[
    "conv", "linear", "bias", "norm_scale", "norm_shift", "norm_mean", "norm_var", "layer_scale",
    "other",  # a weight of an unknown layer in a user model
]  # fmt: skip
Padding = int | Literal["same"] | None  # None: kernel // 2; "same": as in TensorFlow, an odd pixel at the end
PADDINGS: dict[str, Padding] = {"symmetric": None, "same": "same"}  # the option "padding" of a variant
S = TypeVar("S", bound="Spec")
STATISTICS = ("norm_mean", "norm_var")  # the kinds that are measured and not trained
LEAVES: dict[str, dict[str, WeightKind]] = {  # layer type -> the last component of a weight's name -> kind
    "conv": {"weight": "conv", "bias": "bias"},
    "linear": {"weight": "linear", "bias": "bias"},
    "norm": {"weight": "norm_scale", "bias": "norm_shift", "running_mean": "norm_mean", "running_var": "norm_var"},
}


@dataclass(frozen=True)
class Weight:
    """The shape and kind of a canonical array. Conversions between frameworks go by the kind, never by the shape."""

    shape: Shape
    kind: WeightKind
    groups: int = 1  # groups of a convolution

    @property
    def size(self) -> int:
        """The number of elements."""
        total = 1
        for side in self.shape:
            total *= side
        return total


@dataclass(frozen=True)
class OperatorCost:
    """A convolution, normalisation or linear layer, with its output shape and its cost for one image."""

    name: str
    kind: Literal["conv", "norm", "linear"]
    output: Shape
    params: int
    macs: int


@dataclass
class Trace:
    """A run of a network on shapes instead of tensors. Each method takes an input shape and returns the output shape.

    MACs are output elements times weights per output, for convolutions and linear layers only: bias, normalisation,
    activation and pooling are not counted.
    """

    weights: dict[str, Weight] = field(default_factory=dict)
    operators: list[OperatorCost] = field(default_factory=list)
    stages: dict[str, Shape] = field(default_factory=dict)

    def conv(
        self, name: str, x: Shape, out: int, kernel: int, stride: int = 1, groups: int = 1, *, bias: bool = False,
        padding: Padding = None,
    ) -> Shape:  # fmt: skip
        """A convolution. Raises ReproError where the channels cannot be divided into the groups."""
        channels = x[0]
        if channels % groups or out % groups:
            raise ReproError(f"{name}: {channels} -> {out} channels cannot be divided into {groups} groups")
        y = (out, *self.pool(x, kernel, stride, padding)[1:])
        weight = Weight((out, channels // groups, kernel, kernel), "conv", groups)
        self._add(name, "conv", weight, y, weight.size * y[1] * y[2], bias=bias)
        return y

    def pool(self, x: Shape, kernel: int, stride: int, padding: Padding = None) -> Shape:
        """Maximum or mean pooling; sizes are rounded down. Raises ReproError for a map smaller than the window."""
        channels, *size = x
        if padding == "same":
            return (channels, *(-(-side // stride) for side in size))
        border = kernel // 2 if padding is None else padding
        if min(size) + 2 * border < kernel:
            raise ReproError(f"a map of {size[0]}x{size[1]} is too small for a window of {kernel}x{kernel}")
        return (channels, *((side + 2 * border - kernel) // stride + 1 for side in size))

    def linear(self, name: str, x: Shape, out: int, *, bias: bool = True) -> Shape:
        """A linear layer."""
        weight = Weight((out, x[0]), "linear")
        self._add(name, "linear", weight, (out,), weight.size, bias=bias)
        return (out,)

    def norm(self, name: str, x: Shape) -> Shape:
        """Batch normalisation."""
        self.weights |= {f"{name}.{leaf}": Weight((x[0],), kind) for leaf, kind in LEAVES["norm"].items()}
        self.operators.append(OperatorCost(name, "norm", x, 2 * x[0], 0))
        return x

    def conv_norm(
        self, name: str, x: Shape, out: int, kernel: int, stride: int = 1, groups: int = 1, padding: Padding = None,
        *, bias: bool = False,
    ) -> Shape:  # fmt: skip
        """A convolution, called `name`.conv, and batch normalisation, called `name`.norm."""
        y = self.conv(f"{name}.conv", x, out, kernel, stride, groups, bias=bias, padding=padding)
        return self.norm(f"{name}.norm", y)

    def layer_norm(self, name: str, x: Shape) -> Shape:
        """Layer normalisation over the channels of each position, without running statistics."""
        self.weights |= {f"{name}.weight": Weight((x[0],), "norm_scale"), f"{name}.bias": Weight((x[0],), "norm_shift")}
        self.operators.append(OperatorCost(name, "norm", x, 2 * x[0], 0))
        return x

    def layer_scale(self, name: str, x: Shape) -> Shape:
        """A trained factor for each channel; `name` is the name of the parameter itself."""
        self.weights[name] = Weight((x[0],), "layer_scale")
        return x

    def stage(self, name: str, x: Shape) -> Shape:
        """Mark `x` as the output of the module called `name`, a stage that parity compares."""
        self.stages[name] = x
        return x

    def _add(
        self, name: str, kind: Literal["conv", "linear"], weight: Weight, y: Shape, macs: int, *, bias: bool
    ) -> None:
        self.weights[f"{name}.weight"] = weight
        if bias:
            self.weights[f"{name}.bias"] = Weight((y[0],), "bias")
        self.operators.append(OperatorCost(name, kind, y, weight.size + bias * y[0], macs))


def checked_padding(padding: str) -> Padding:
    """Return the padding of an option's name. Raises ReproError for an unknown one."""
    if padding not in PADDINGS:
        raise unknown("padding", padding, PADDINGS)
    return PADDINGS[padding]


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The description of a network. A family adds its block configs, and connects them in `walk`."""

    name: str
    family: str
    source: str  # paper and table, or the code that defines the network
    input_size: int  # pixels; the size that the weights were published for
    num_classes: int = 1000
    in_channels: int = 3
    norm_eps: float = 1e-5
    norm_momentum: float = 0.1  # weight of the new value, as in PyTorch
    dropout: float = 0.0  # rate of the dropout before the classifier
    drop_path: float = 0.0  # rate of the last residual branch; it grows linearly over the blocks
    init: str  # name of the rule in repro.weights.init

    def __post_init__(self) -> None:
        for option in ("num_classes", "in_channels"):
            value = getattr(self, option)
            if not isinstance(value, int) or value < 1:
                raise ReproError(f"{self.name}: {option} must be a whole number of at least 1, not {value!r}")
        for option in ("dropout", "drop_path"):
            value = getattr(self, option)
            if not isinstance(value, (int, float)) or not 0 <= value < 1:
                raise ReproError(f"{self.name}: {option} must be at least 0 and below 1, not {value!r}")
        if not isinstance(self.norm_eps, (int, float)) or not 0 < self.norm_eps < 1:
            raise ReproError(f"{self.name}: norm_eps must be above 0 and below 1, not {self.norm_eps!r}")

    def walk(self, net: Trace, x: Shape) -> Shape:
        """Run the network on `net`, from the input shape (in_channels, height, width) to the logits (num_classes,)."""
        raise NotImplementedError

    def trace(self, size: int | None = None) -> Trace:
        """Return the walk for a square input of `size` pixels (default: the published size).

        Raises ReproError, which names the smallest possible size, where the input is too small.
        """
        net = Trace()
        side = size or self.input_size
        try:
            self.walk(net, (self.in_channels, side, side))
        except ReproError as error:
            if side >= self.input_size:
                raise
            raise ReproError(
                f"{self.name} takes images of at least {self.min_size} pixels, not {side}: {error}"
            ) from error
        return net

    @cached_property
    def min_size(self) -> int:
        """The smallest side in pixels of an image that the network accepts."""
        for side in range(1, self.input_size):
            try:
                self.walk(Trace(), (self.in_channels, side, side))
            except ReproError:
                continue
            return side
        return self.input_size

    @cached_property
    def weights(self) -> dict[str, Weight]:
        """The canonical weights, name -> shape and kind, in the order of the forward pass."""
        return self.trace().weights

    @property
    def classifier(self) -> str:
        """The name of the classifier's weight, which has a row for each class."""
        return [name for name, weight in self.weights.items() if weight.kind == "linear"][-1]

    @property
    def head_weights(self) -> list[str]:
        """The names of the weights after the pooling, which every family calls hidden..., and of the classifier."""
        layers = (self.classifier.partition(".")[0], "hidden")
        return [name for name in self.weights if name.startswith(layers)]

    @property
    def numerics(self) -> dict[str, str]:
        """The options, as text, on which the results depend although weights of the same names and shapes fit."""
        padding = {"padding": self.padding or "symmetric"} if hasattr(self, "padding") else {}
        return {"norm_eps": f"{self.norm_eps:g}", **padding}

    @property
    def first_conv(self) -> str:
        """The name of the first convolution's kernel, which has a slice for each input channel."""
        return next(name for name, weight in self.weights.items() if weight.kind == "conv")  # has one group

    @cached_property
    def params(self) -> int:
        """The number of trained parameters, without running statistics."""
        return sum(weight.size for weight in self.weights.values() if weight.kind not in STATISTICS)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates for one image of the published size, as counted by Trace."""
        return sum(op.macs for op in self.trace().operators)
