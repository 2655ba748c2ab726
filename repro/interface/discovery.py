"""Discovery of backends: the three of this repository, and all under the entry point `repro.backends`."""

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
    """Return the package of every backend by its name."""
    return SHIPPED | {point.name: point.value for point in entry_points(group="repro.backends")}


def backend_names() -> list[str]:
    """Return the names of all known backends, whether or not their frameworks are installed."""
    return list(_modules())


def module_name(name: str) -> str:
    """Return the name of a backend's package. Raises ReproError for an unknown backend."""
    modules = _modules()
    if name not in modules:
        raise unknown("backend", name, modules)
    return modules[name]


def load_backend(name: str) -> Backend:
    """Return the backend's package. Raises ReproError where its framework cannot be imported."""
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
    """Return the reader and writer of a backend's native files, which do not need the framework."""
    module: ModuleType = importlib.import_module(f"{module_name(name)}.native_weights")
    return cast("NativeWeights", module)
