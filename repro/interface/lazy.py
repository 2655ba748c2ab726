"""Packages whose functions are imported on first use, so that naming a backend does not import its framework."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

# the functions of repro.interface.Backend, and the module that holds each in every backend's package
FUNCTIONS = {
    "create_model": "model",
    "load_weights": "model",
    "export_weights": "model",
    "to_float64": "model",
    "truncate": "model",
    "wrap_user_model": "user_models",
    "describe_modules": "user_models",
    "random_modules": "user_models",
    "gradients": "user_models",
    "forward": "introspection",
    "feed_modules": "introspection",
    "operators": "introspection",
    "forward_with_values": "substitution",
    "set_dropout_source": "dropout",
    "create_trainer": "trainer",
    "use_device": "processes",
    "upload": "processes",
    "init_distributed": "processes",
    "all_reduce_sum": "processes",
    "export_onnx": "onnx_export",
}


def functions_of(package: str) -> Callable[[str], Any]:
    """Return the module-level `__getattr__` (PEP 562) of a backend's package."""

    def __getattr__(name: str) -> Any:
        if name not in FUNCTIONS:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{FUNCTIONS[name]}"), name)

    return __getattr__
