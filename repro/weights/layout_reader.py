"""Arrays of one published layout -> canonical weights, complete or completed by fresh ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError
from repro.specs import Spec
from repro.untrusted import printable
from repro.weights import Log
from repro.weights.formats import native_names
from repro.weights.init import initialise
from repro.weights.layouts import Layout
from repro.weights.strict import fits_spec, mismatches


class LayoutReader:
    """A reader of the arrays of one file.

    spec: the given one with the numbers of classes and of input channels that the arrays have. names: canonical name ->
    name in the file.
    """

    def __init__(self, layout: Layout, spec: Spec, arrays: Mapping[str, np.ndarray]) -> None:
        self.layout, self.native = layout, native_names(layout.format)
        self.spec = layout.fitted_spec(spec, self.native, arrays)
        self.names = layout.names(self.spec, self.native)
        self.canonical_names = {file_name: name for name, file_name in self.names.items()}

    def to_canonical(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        """Return the arrays that have a canonical name, under that name and with canonical axes, as views."""
        canonical = {}
        for file_name, array in arrays.items():
            if name := self.canonical_names.get(file_name):
                canonical[name] = self.layout.to_canonical(name, array, self.spec.weights[name], self.native)
        return canonical

    def weights(
        self,
        arrays: Mapping[str, np.ndarray],
        num_classes: int | None,
        in_channels: int | None = None,
        *,
        partial: bool,
        log: Log,
    ) -> tuple[Arrays, Spec]:
        """Return the weights by canonical name, and the spec that they are for. They may not fit it: see check_weights.

        Arrays without a canonical name keep the name of the file. num_classes: initialise a classifier of this many
        classes where the file has another number, and a head where it has none. in_channels: adapt the first
        convolution to this many input channels.
        partial: drop arrays that do not fit, and initialise missing weights.
        Raises ReproError for a weight under two names, where nothing fits, and for a file that lacks only the head.
        """
        known = self.to_canonical(arrays)
        unknown = {name: array for name, array in arrays.items() if name not in self.canonical_names}
        if twice := known.keys() & unknown.keys():
            raise ReproError(
                f"{min(twice)} occurs twice: under its canonical name and under that of {self.layout.publisher}"
            )
        weights, spec = known | unknown, self.spec
        if in_channels is not None and in_channels != spec.in_channels:
            name = spec.first_conv
            if name not in known or known[name].ndim != len(spec.weights[name].shape):
                raise ReproError(f"the file lacks {name}, so that its input channels cannot be adapted")
            log(f"adapted {name} from {spec.in_channels} input channels to {in_channels}")
            spec = replace(spec, in_channels=in_channels)
            weights[name] = adapt_channels(known[name], in_channels)
        fresh: set[str] = set()
        classifier = {spec.classifier, spec.classifier.replace("weight", "bias")} & spec.weights.keys()
        headless = set() if classifier & known.keys() else set(spec.head_weights) - known.keys()
        if headless and num_classes is None and not partial:
            self._check_trunk(known, unknown, headless)
        if num_classes is not None and (headless or num_classes != spec.num_classes):
            spec = replace(spec, num_classes=num_classes)
            fresh = classifier | headless
            if not headless:
                log(f"skipped the classifier of {self.spec.num_classes} classes: {', '.join(_ordered(fresh, spec))}")
        if partial:
            for mismatch in mismatches({n: array for n, array in weights.items() if n not in fresh}, spec.weights):
                log(f"partial: {mismatch}")
            weights = {name: array for name, array in weights.items() if fits_spec(name, array, spec)}
            if not weights:
                raise ReproError(f"nothing in the file fits {spec.name}; is it a checkpoint of another model?")
            fresh |= spec.weights.keys() - weights.keys()
        if fresh:
            log(f"initialised {len(fresh)} of {len(spec.weights)} weights: {', '.join(_ordered(fresh, spec))}")
            weights |= {name: array for name, array in initialise(spec, 0).items() if name in fresh}
        return weights, spec

    def _check_trunk(self, known: Arrays, unknown: Arrays, headless: set[str]) -> None:
        """Raise ReproError, with the flag that initialises a head, if everything except `headless` fits."""
        spec = self.spec
        if known.keys() | headless != spec.weights.keys() or not all(fits_spec(*item, spec) for item in known.items()):
            return  # check_weights lists the differences
        missing = ", ".join(self.names[name] for name in _ordered(headless, spec))
        others, remedy = "", "repro.port --num-classes N"
        if unknown:
            shown = ", ".join(printable(name) for name in list(unknown)[:4])
            others = f" and has {shown}{', ...' if len(unknown) > 4 else ''} instead"
            remedy += " --partial, which leaves those out"
        raise ReproError(
            f"the file lacks the head of {spec.name} ({missing}){others}; initialise one for N classes: {remedy}"
        )


def adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Return the kernel (O, C, H, W) of a first convolution for another number of input channels.

    For one channel it is the sum over C: a grey image gives what its copies in C channels gave. For more channels the C
    channels are repeated and scaled by C / channels, so that images with equal channels give what they gave. Both are
    what timm does (timm/models/_manipulate.py, adapt_input_conv). The dtype stays.
    """
    exact = kernel.astype(np.float64)
    if channels == 1:
        return exact.sum(1, keepdims=True).astype(kernel.dtype)
    indices = np.arange(channels) % kernel.shape[1]
    return (exact[:, indices] * (kernel.shape[1] / channels)).astype(kernel.dtype)


def _ordered(names: set[str], spec: Spec) -> list[str]:
    """Return the names in the order of the spec."""
    return [name for name in spec.weights if name in names]
