"""A backend without a framework, whose functions misbehave as a test asks.

The environment variable FAKE_BACKEND holds JSON: statements to execute "on_import", "on_version" and "on_create".
"""

from __future__ import annotations

import json
import os
import sys
import time  # noqa: F401 - used by statements of tests
from collections.abc import Mapping
from typing import Any

import numpy as np

from repro.specs import Spec

STATEMENTS = json.loads(os.environ["FAKE_BACKEND"])

print("a line on stdout")
print("a line on stderr", file=sys.stderr)
exec(STATEMENTS["on_import"])


class Model(dict):
    """A model that is only its weights."""

    spec: Spec


def version() -> str:
    exec(STATEMENTS["on_version"], globals())
    return "1.2"


def create_model(spec: Spec) -> Model:
    exec(STATEMENTS["on_create"], globals())
    model = Model()
    model.spec = spec
    return model


def load_weights(model: Model, arrays: Mapping[str, np.ndarray]) -> None:
    model.update(arrays)


def export_weights(model: Model) -> Model:
    return model


def set_dropout_source(model: Model, source: Any) -> None:
    pass
