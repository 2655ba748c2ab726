"""The backend REPRO_FAULT_BACKEND with a planted fault in its model, as a module that a worker imports.

The fault is read from the file REPRO_FAULT. Its code can use `model` and the framework's `nn`.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

from repro.specs import Spec

NAME = os.environ["REPRO_FAULT_BACKEND"]
sound_backend = importlib.import_module(f"backends.{NAME}")


def __getattr__(name: str) -> Any:
    return getattr(sound_backend, name)


def create_model(spec: Spec) -> Any:
    """A model with the fault of the file REPRO_FAULT."""
    model = sound_backend.create_model(spec)
    fault = json.loads(Path(os.environ["REPRO_FAULT"]).read_text())
    exec(fault["code"], {"model": model, "nn": importlib.import_module(f"{NAME}.nn")})
    return model
