"""Finds backends: the three that are shipped, and whatever else is installed under the entry point `repro.backends`."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING, cast

from repro.errors import ReproError, unknown

if TYPE_CHECKING:
    from repro.interface.contract import Backend, NativeWeights

SHIPPED = {"torch": "backends.torch", "paddle": "backends.paddle", "mindspore": "backends.mindspore"}


def _modules() -> dict[str, str]:
    return SHIPPED | {point.name: point.value for point in entry_points(group="repro.backends")}


def backend_names() -> list[str]:
    """Every known backend, whether or not its framework is installed."""
    return list(_modules())


def module_name(name: str) -> str:
    """The package of a backend. Raises ReproError for a name that nobody has registered."""
    modules = _modules()
    if name not in modules:
        raise unknown("backend", name, modules)
    return modules[name]


def load_backend(name: str) -> Backend:
    """The backend's package, with its framework importable. Raises ReproError where the framework is missing."""
    module = importlib.import_module(module_name(name))
    try:
        module.version()
    except ImportError as error:
        raise ReproError(
            f"backend {name} cannot import its framework ({error}); install it with: "
            f"pip install -e '.[{name}]' in repro's folder"
        ) from error
    return cast("Backend", module)


def native_weights(name: str) -> NativeWeights:
    """The reader and writer of a backend's own files; the framework need not be installed."""
    module: ModuleType = importlib.import_module(f"{module_name(name)}.native_weights")
    return cast("NativeWeights", module)
