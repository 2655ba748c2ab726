"""Print the top-level modules that are loaded after modules are imported: `... loaded_modules MODULE ... [--help]`.

With --help, the last module is a command, whose help is printed first.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if name != "--help"]
    modules = [importlib.import_module(name) for name in names]
    if "--help" in sys.argv:
        with contextlib.suppress(SystemExit):
            modules[-1].main(["--help"])
    print(*(name.partition(".")[0] for name in sys.modules))
