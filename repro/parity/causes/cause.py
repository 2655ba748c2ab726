"""The cause of an error at one place of a user model, in one clause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from repro.interface.module_outputs import RUNNING_STATISTICS
from repro.interface.module_settings import ModuleDescription
from repro.parity.causes.hints import explain_error
from repro.parity.causes.normalised import explain_normalisation
from repro.parity.causes.operations import explain_operations, find_formula, readable
from repro.parity.tolerance import root_mean_square
from repro.parity.user_models.structure import geometry_differences, setting_differences

OFTEN_EQUAL = ("padding", "interpolation")  # settings that frameworks write differently


@dataclass(frozen=True)
class Evidence:
    """An error and its surroundings.

    names: the two models; stopped: the result from which no gradient comes in each, or ""; modules: the erring module
    in both models, or None where code between modules errs; between: the unpaired modules that run in between, as text;
    sources, other_sources: the values from which each model computes the result, by name; weights: those of the
    modules around it, such as a class token; right, wrong: the results of the first model and of the other one; result:
    the weight or value of a wrong gradient, or a wrong statistic, by name; tolerance: relative to the result; momentum,
    initial: the momentum and the initial value of a wrong statistic.
    """

    names: tuple[str, str]
    stopped: tuple[str, str]
    modules: tuple[ModuleDescription | None, ModuleDescription | None]
    between: tuple[str, str]
    sources: Mapping[str, np.ndarray]
    other_sources: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]
    right: np.ndarray
    wrong: np.ndarray
    result: str
    is_gradient: bool
    tolerance: float
    momentum: float
    initial: np.ndarray | None


def find_cause(evidence: Evidence) -> str:
    """The cause, or else how large the error is."""
    return next(_causes(evidence))


def _causes(evidence: Evidence) -> Iterator[str]:
    first, second = evidence.names
    subject = f"the gradient of {evidence.result}: " if evidence.is_gradient else ""
    if evidence.result and not evidence.is_gradient:
        subject = f"{evidence.result.rpartition('.')[2]}: "
    yield from _certain_causes(evidence)
    yield from _other_normalisation(evidence)
    if not evidence.result and (
        operations := explain_operations(
            evidence.sources, evidence.other_sources, evidence.weights, evidence.right, evidence.wrong
        )
    ):
        if operations[1]:
            yield _contrast(evidence.names, *operations)
        if explanation := _explain_array(evidence):
            yield f"{explanation} ({first} computes {operations[0]})"
        if relation := find_formula({"that value": evidence.right}, evidence.wrong):
            yield _contrast(evidence.names, operations[0], relation)
    if evidence.sources.keys() != evidence.other_sources.keys():
        lists = [", ".join(map(readable, names)) or "nothing" for names in (evidence.sources, evidence.other_sources)]
        yield f"{first} computes it from {lists[0]}, and {second} from {lists[1]}"
    if any(evidence.between) and evidence.between[0] != evidence.between[1]:
        ran, other_ran = (text or "no module" for text in evidence.between)
        yield f"{first} runs {ran} there, and {second} {other_ran}"
    if not evidence.result and operations:
        yield _contrast(evidence.names, *operations)
    if evidence.right.shape != evidence.wrong.shape:
        yield f"{subject}its shape is {_shape(evidence.right)} in {first} and {_shape(evidence.wrong)} in {second}"
        return
    for name, array in zip(evidence.names, (evidence.right, evidence.wrong), strict=True):
        if evidence.is_gradient and not array.any():
            yield f"{subject}it is 0 in {name}; is the gradient stopped there?"
    if explanation := _explain_array(evidence):
        yield f"{subject}{explanation}"
    yield from _other_types(evidence)
    error = root_mean_square(evidence.wrong - evidence.right)
    size = root_mean_square(evidence.right)
    yield f"{subject}{second} is off by {error:.2g} where values are {size:.2g} (RMS)"


def _certain_causes(evidence: Evidence) -> Iterator[str]:
    """Causes that do not have to be guessed: a stopped gradient, and settings of modules."""
    module, other = evidence.modules
    for name, result in zip(evidence.names, evidence.stopped, strict=True):
        if result:
            yield f"{name} stops the gradient from {readable(result)} to {readable(evidence.result)}"
    if module and other:
        for differences in (setting_differences, geometry_differences):
            if texts := list(differences(evidence.names, module, other)):
                yield " and ".join(texts)


def _other_normalisation(evidence: Evidence) -> Iterator[str]:
    """The formulas of modules that normalise in two ways."""
    if all(evidence.modules) and not evidence.result and len(evidence.sources) == 1:
        (source,) = evidence.sources.values()
        if formulas := explain_normalisation(source, evidence.right, evidence.wrong, evidence.tolerance):
            yield _contrast(evidence.names, *formulas)


def _other_types(evidence: Evidence) -> Iterator[str]:
    """The modules that err, where they are of two types."""
    module, other = evidence.modules
    if module and other and not evidence.is_gradient and module.type.lower() != other.type.lower():
        yield f"{evidence.names[0]} runs {module.text} there, and {evidence.names[1]} {other.text}"


def _explain_array(evidence: Evidence) -> str:
    """How the wrong array differs from the right one, whatever computes it."""
    leaf = evidence.result.rpartition(".")[2]
    return explain_error(
        evidence.wrong,
        evidence.right,
        tolerance=evidence.tolerance * root_mean_square(evidence.right),
        initial=evidence.initial if leaf in RUNNING_STATISTICS else None,
        momentum=evidence.momentum,
        statistic=leaf if leaf in RUNNING_STATISTICS else "",
    )


def _contrast(names: tuple[str, str], right: str, wrong: str) -> str:
    """The formulas of both models in one clause."""
    first, second = names
    if not wrong:
        return f"{first} computes {right}, and {second} something else"
    return f"{first} computes {right}, and {second} {wrong}"


def _shape(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape))
