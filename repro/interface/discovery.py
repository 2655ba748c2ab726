"""Discovery of backends: the three shipped ones, and those installed under the entry-point group `repro.backends`."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from repro.errors import ReproError, unknown
from repro.interface.threads import choose_threads, threads_in_environment
from repro.memory import keep_freed_memory

if TYPE_CHECKING:
    from repro.interface.contract import Backend, NativeWeights

SHIPPED = {"torch": "backends.torch", "paddle": "backends.paddle", "mindspore": "backends.mindspore"}

LABEL = re.compile(rf"({'|'.join(SHIPPED)})(#[1-9]\d{{0,2}})?")  # torch, or torch#2 for a second model in torch


def backend_of(label: str) -> str:
    """Return the backend of one of several models, which are labelled torch, torch#2 and so on."""
    return label.partition("#")[0]


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


def import_package(name: str) -> ModuleType:
    """Return a backend's package, which imports no framework. Raises ReproError where the package cannot be found."""
    module = _import_module(module_name(name))
    if not hasattr(module, "version"):
        raise _shadowed(module.__name__)
    return module


def check_installed(name: str) -> None:
    """Raise ReproError for an unknown backend, or if the framework of a shipped one is not installed.

    Nothing is imported, so that this check can come before weights are downloaded or images are read.
    """
    if module_name(name) == f"backends.{name}" and importlib.util.find_spec(name) is None:
        raise _not_importable(name, f"No module named {name!r}")


def load_backend(name: str) -> Backend:
    """Return a backend's package, after checking that its framework can be imported, with its threads and memory set.

    Raises ReproError where the framework is missing, and where the package cannot be found.
    """
    module = import_package(name)
    if threads_in_environment() is None:
        choose_threads(name).apply()
    keep_freed_memory()
    try:
        module.version()
    except ImportError as error:
        raise _not_importable(name, str(error)) from error
    return cast("Backend", module)


def native_weights(name: str) -> NativeWeights:
    """Return the reader and writer of a backend's native files. The framework need not be installed."""
    return cast("NativeWeights", _import_module(f"{module_name(name)}.native_weights"))


def _not_importable(name: str, reason: str) -> ReproError:
    return ReproError(
        f"backend {name} cannot import its framework ({reason}); install it with: "
        f"pip install -e '.[{name}]' in repro's folder"
    )


def _import_module(name: str) -> ModuleType:
    """Import a module of a backend.

    Raises ReproError where another package or module of the same name, such as a folder backends/ that the command is
    started in, comes first on Python's path.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if name.partition(".")[0] in sys.modules and f"{name}.".startswith(f"{error.name}."):
            raise _shadowed(name) from error
        raise


def _shadowed(name: str) -> ReproError:
    """Return the error for a module that another package or module of the same name hides."""
    package = name.partition(".")[0]
    hiding = sys.modules[package]
    path = next(iter(getattr(hiding, "__path__", [hiding.__file__])))
    return ReproError(
        f"{name} cannot be imported, because {path} shadows the package {package} that contains it; start the command "
        f"in another folder, or rename {Path(path).name}"
    )
