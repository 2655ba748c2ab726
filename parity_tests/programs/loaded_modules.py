"""Print the top-level modules that importing modules loads: `... loaded_modules MODULE ... [-- ARGUMENT ...]`.

With arguments, the last module is a command, which runs with them first.
"""

from __future__ import annotations

import contextlib
import importlib
import sys

if __name__ == "__main__":
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    modules = [importlib.import_module(name) for name in given[:end]]
    if arguments := given[end + 1 :]:
        with contextlib.suppress(SystemExit):
            modules[-1].main(arguments)
    print(*(name.partition(".")[0] for name in sys.modules))
