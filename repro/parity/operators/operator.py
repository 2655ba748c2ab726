"""An operator: its inputs, its settings, its definition in NumPy, and the code that calls it in a framework."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from repro.arrays import Arrays
from repro.choices import FRAMEWORKS
from repro.errors import ReproError, unknown

Value = bool | int | float | str | tuple[int, ...] | tuple[float, ...]
Settings = Mapping[str, Any]  # name -> a Value, or None for the framework's own default

SHAPE, VALUES = "shape", "x"  # two settings that every operator has: the shape of the input x, and its numbers
LARGEST_INPUT = 1 << 16  # elements of x: the definition is computed a few hundred times
LARGEST_NUMBER = 512  # the limit of a setting, such as a kernel's size


@dataclass(frozen=True)
class Setting:
    """A setting of an operator.

    default: what all frameworks are given unless the user sets another value; None if each keeps the default that its
    documentation names, see `documented`; choices: the possible values, where they can be listed; words: texts that
    may stand in place of a number; fixed: frameworks that have no such setting, where the documented value holds.
    """

    name: str
    default: Value | None = None
    documented: Mapping[str, Value] = field(default_factory=dict)
    choices: tuple[Value, ...] = ()
    words: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()

    @property
    def can_be_set(self) -> bool:
        """Return whether any framework has the setting."""
        return len(self.fixed) < len(FRAMEWORKS)

    def parse(self, text: str) -> Value:
        """The value of a text. Raises ReproError for a value of another type, or one that is not a choice."""
        if not self.can_be_set:
            raise ReproError(f"{self.name} cannot be set: every framework has its own way; leave it out")
        usual = [
            value
            for value in (self.default, *self.documented.values(), *self.choices, *self.words)
            if value is not None
        ]
        for value in usual:
            if text == to_text(value):
                return value
        if self.choices:
            raise ReproError(f"{self.name} is {text!r}; choose among {', '.join(map(to_text, self.choices))}")
        try:
            if any(type(value) is float for value in usual):
                return float(text)
            if any(type(value) in (int, tuple) for value in usual):
                numbers = tuple(map(int, text.split(",")))
                if max(map(abs, numbers)) > LARGEST_NUMBER:
                    raise ReproError(f"{self.name} is {text!r}; give at most {LARGEST_NUMBER}")
                return numbers[0] if len(numbers) == 1 else numbers
        except ValueError:
            pass
        raise ReproError(f"{self.name} is {text!r}; give a value such as {to_text(usual[0])}")


def own_default(
    name: str, torch: Value, paddle: Value, mindspore: Value, *choices: Value, fixed: str = "", words: str = ""
) -> Setting:
    """A setting that every framework leaves at its own default. fixed, words: names, separated by blanks."""
    documented = dict(zip(FRAMEWORKS, (torch, paddle, mindspore), strict=True))
    return Setting(name, None, documented, choices, tuple(words.split()), tuple(fixed.split()))


@dataclass(frozen=True)
class Code:
    """How a framework computes an operator, as source text.

    y: the expression of the output, from the inputs' names; setup: statements before it, such as the creation of a
    layer; parameters: input -> the parameter of that layer that was loaded with it; outputs: further results, such as
    running statistics, and the expressions that hold them afterwards.
    """

    y: str
    setup: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Input:
    """An input other than x: its shape, and its numbers as a NumPy expression with a generator `rng` and `shape`."""

    shape: tuple[int, ...]
    numbers: str = "rng.standard_normal(shape)"
    dtype: str = "float32"


Render = Callable[[Settings], str | Code]


@dataclass(frozen=True)
class Operator:
    """An operator that the frameworks have in common.

    define: inputs in float64 and every setting -> "y" and further results; shape: the usual one of x; inputs: settings,
    with the shape of x as "shape" -> the other inputs; differentiable: inputs that have a gradient.
    """

    name: str
    define: Callable[[Arrays, Settings], Arrays]
    torch: Render
    paddle: Render
    mindspore: Render
    settings: tuple[Setting, ...] = ()
    shape: tuple[int, ...] = (2, 3, 4)
    inputs: Callable[[Settings], dict[str, Input]] = lambda settings: {}
    differentiable: tuple[str, ...] = ("x",)
    numbers: str = "rng.standard_normal(shape)"

    def code(self, framework: str, chosen: Settings) -> Code:
        """The framework's code with the chosen settings."""
        values = {setting.name: setting.default for setting in self.settings} | dict(chosen)
        values[SHAPE] = self.input_shape(chosen)
        code = {"torch": self.torch, "paddle": self.paddle, "mindspore": self.mindspore}[framework](values)
        return Code(code) if isinstance(code, str) else code

    def documented(self, framework: str, chosen: Settings) -> dict[str, Value]:
        """The value of every setting in a framework: the chosen one, or else the one that its documentation names."""
        values: dict[str, Value] = {}
        for setting in self.settings:
            value = None if framework in setting.fixed else chosen.get(setting.name, setting.default)
            values[setting.name] = setting.documented[framework] if value is None else value
        return values | {SHAPE: self.input_shape(chosen)}

    def input_shape(self, chosen: Settings) -> tuple[int, ...]:
        """The shape of x."""
        shape = chosen.get(SHAPE)
        return tuple(map(int, shape)) if isinstance(shape, tuple) else self.shape

    def all_inputs(self, chosen: Settings) -> dict[str, Input]:
        """Every input by name, x first. Chosen numbers of x are repeated or cut to its shape."""
        shape = self.input_shape(chosen)
        numbers = chosen.get(VALUES)
        text = self.numbers if numbers is None else f"np.resize({_literal(numbers)}, shape)"
        values = {setting.name: setting.default for setting in self.settings} | dict(chosen) | {SHAPE: shape}
        return {"x": Input(shape, text), **self.inputs(values)}

    def make_inputs(self, chosen: Settings) -> Arrays:
        """The arrays of all inputs, as the scripts of script.py make them. Raises ReproError for impossible shapes."""
        rng = np.random.default_rng(0)
        try:
            return {
                # an expression of this repository, which scripts contain as it is
                name: np.asarray(eval(item.numbers, {"np": np, "rng": rng, "shape": item.shape})).astype(item.dtype)
                for name, item in self.all_inputs(chosen).items()
            }
        except (ValueError, ZeroDivisionError, TypeError) as error:
            raise ReproError(f"{self.name} is not defined for these settings ({error}); change --set") from error

    def parse(self, assignments: list[str]) -> dict[str, Value]:
        """The settings of "NAME=VALUE" texts. Raises ReproError for an unknown name or an impossible value."""
        chosen: dict[str, Value] = {}
        settings = {setting.name: setting for setting in self.settings}
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                raise ReproError(f"--set {assignment} has no value; write --set {assignment}=VALUE")
            if name in (SHAPE, VALUES):
                chosen[name] = _parse_numbers(name, text)
            elif name in settings:
                chosen[name] = settings[name].parse(text)
            else:
                raise unknown(f"setting of {self.name}", name, [SHAPE, VALUES, *settings])
        if SHAPE in chosen and len(self.input_shape(chosen)) != len(self.shape):
            raise ReproError(
                f"shape is {to_text(chosen[SHAPE])}; {self.name} takes {len(self.shape)} axes, such as "
                f"{to_text(self.shape)}"
            )
        return chosen


def call(function: str, *arguments: str, **keywords: Value | None) -> str:
    """The source text of a call, without the keywords that are None, so that the framework's defaults hold."""
    named = [f"{name}={_literal(value)}" for name, value in keywords.items() if value is not None]
    return f"{function}({', '.join([*arguments, *named])})"


def describe(settings: Mapping[str, Value]) -> str:
    """The settings as --set arguments without --set, in one line."""
    return " ".join(f"{name}={to_text(value)}" for name, value in settings.items())


def to_text(value: Value) -> str:
    """A value as it is typed after --set."""
    if isinstance(value, tuple):
        return ",".join(map(to_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _literal(value: Value) -> str:
    """The Python text of a value."""
    if isinstance(value, tuple):
        items = [_literal(item) for item in value]
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    return repr(value) if not isinstance(value, float) or math.isfinite(value) else f"float('{value}')"


def _parse_numbers(name: str, text: str) -> tuple[float, ...]:
    """Comma-separated numbers; whole and positive for the shape."""
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        raise ReproError(f"{name} is {text!r}; give comma-separated numbers, such as 1.5,nan,-inf") from None
    if name == SHAPE:
        if not all(number.is_integer() and number > 0 for number in numbers):
            raise ReproError(f"{name} is {text!r}; give positive whole numbers, such as 1,3,4,4")
        if math.prod(numbers) > LARGEST_INPUT:
            raise ReproError(f"{name} is {text!r}; give at most {LARGEST_INPUT} elements")
        return tuple(map(int, numbers))
    return numbers
