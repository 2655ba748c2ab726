"""Write and read a file of each framework, and check that none was imported: `... native_files_alone PATH`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from repro.interface.discovery import SHIPPED, native_weights

if __name__ == "__main__":
    for name in SHIPPED:
        module = native_weights(name)
        path = Path(sys.argv[1] + module.EXTENSIONS[0])
        module.write(path, {"a": np.ones(2)})
        module.read(path)
    frameworks = {*SHIPPED, "google.protobuf"} & set(sys.modules)
    assert not frameworks, sorted(frameworks)
