"""Weights that a file holds in another form: pruned ones are multiplied by their masks, and other forms are named.

The names are those of torch and, for weight_norm and spectral_norm, also of PaddlePaddle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from repro.arrays import Arrays
from repro.errors import ReproError, counted
from repro.untrusted import printable
from repro.weights import Log

# attributes in which wrappers keep a part of a network, as in vgg.features = DataParallel(vgg.features)
INNER_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
REMOVE = "load it into the network, call {} on each such layer, and save the state dict again"
UNQUANTISED = "save the model before its quantisation"


class Form(NamedTuple):
    """A form of weights that is named and not read.

    pattern: that of a name. companion: the name that comes with it, or "". title: what it is. remedy: how to mend it.
    Companion and remedy may refer to groups of the pattern.
    """

    pattern: str
    companion: str
    title: str
    remedy: str


FORMS = (
    Form(
        r"(.+\.|)parametrizations\.(\w+)\..+", "", "a parametrization",
        REMOVE.format(r"torch.nn.utils.parametrize.remove_parametrizations(layer, '\2')"),
    ),
    Form(r"(.+)_g", r"\1_v", "a weight of weight_norm", REMOVE.format("remove_weight_norm(layer)")),
    Form(r"(.+)_orig", r"\1_u", "a weight of spectral_norm",
         REMOVE.format("torch.nn.utils.remove_spectral_norm(layer)")),
    Form(r"(.+\.)?lora_kernel_[ab]", "", "a part of LoRA", "save the model as .keras, which merges it"),
    Form(r"(.+\.)?lora_(A|B|embedding_[AB]|magnitude_vector)\..+", "", "a part of LoRA",
         "merge it with merge_and_unload() of peft, and save the state dict of the result"),
    Form(r"(.+\.)?(\w+_fake_quant|activation_post_process)\..+", "", "an observer of quantisation", UNQUANTISED),
    Form(r"(.+\.)?kernel_scale", "", "a scale of quantised weights", UNQUANTISED),
    Form(r"(.+\.)?(SCB|weight\.absmax)", "", "a scale of quantised weights", UNQUANTISED),
)  # fmt: skip


def ordinary_weights(arrays: Arrays, path: Path, log: Log) -> Arrays:
    """Return the arrays of a file with ordinary weights in the place of pruned ones, without wrappers inside the names.

    Raises ReproError for weights in another form.
    """
    arrays = _without_inner_wrappers(arrays, log)
    _refuse_forms(arrays, path)
    return _without_masks(arrays, path, log)


def _without_inner_wrappers(arrays: Arrays, log: Log) -> Arrays:
    """Remove the attributes of wrappers inside the names, unless two names would become one."""
    found = sorted({part for name in arrays for part in name.split(".")[:-1] if part in INNER_WRAPPERS})
    renamed = {
        ".".join([part for part in name.split(".")[:-1] if part not in found] + [name.rpartition(".")[2]]): array
        for name, array in arrays.items()
    }
    if not found or len(renamed) < len(arrays):
        return arrays
    log(f"removed the {'wrapper' if len(found) == 1 else 'wrappers'} {', '.join(found)} inside the names")
    return renamed


def _refuse_forms(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Raise ReproError for the first array that is, or belongs to, a weight in a form that is not read."""
    for name, array in arrays.items():
        for form in FORMS:
            match = re.fullmatch(form.pattern, name)
            if match and (not form.companion or match.expand(form.companion) in arrays):
                raise ReproError(f"{path} holds {printable(name)}, {form.title}; {match.expand(form.remedy)}")
        if array.ndim > 1 and array.dtype in (np.int8, np.uint8):
            raise ReproError(f"{path} holds {array.dtype} in {printable(name)}, a quantised weight; {UNQUANTISED}")


def _without_masks(arrays: Arrays, path: Path, log: Log) -> Arrays:
    """Replace what torch.nn.utils.prune keeps, "weight_orig" and "weight_mask", by their product "weight".

    Raises ReproError for pruned weights that share values: a small file could otherwise fill the memory.
    """
    pruned = [
        name
        for name in (name.removesuffix("_orig") for name in arrays if name.endswith("_orig"))
        if name not in arrays
        and f"{name}_mask" in arrays
        and arrays[f"{name}_mask"].shape == arrays[f"{name}_orig"].shape
    ]
    if not pruned:
        return arrays
    end = 0
    for start, name in sorted((arrays[f"{name}_orig"].__array_interface__["data"][0], name) for name in pruned):
        if start < end:
            raise ReproError(
                f"{path} holds {printable(name)}_orig, a pruned weight that shares its values with another; call "
                "torch.nn.utils.prune.remove(layer, 'weight') on each such layer, and save the state dict again"
            )
        end = start + arrays[f"{name}_orig"].nbytes
    more = ", ..." if len(pruned) > 1 else ""
    log(f"applied the masks of {counted(len(pruned), 'pruned weight')}: {printable(pruned[0])}{more}")
    names = {f"{name}_orig": name for name in pruned}
    masks = {f"{name}_mask" for name in pruned}
    return {
        names.get(name, name): array * arrays[f"{names[name]}_mask"].astype(array.dtype) if name in names else array
        for name, array in arrays.items()
        if name not in masks
    }
