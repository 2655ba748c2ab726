"""Programs of parity_tests/commands/test_export.py."""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO


def export(argument_lists: list[list[str]]) -> list[str]:
    """Call repro.export with each list of arguments, and return the line that it prints or its error."""
    from repro.errors import ReproError
    from repro.export import main

    results = []
    for arguments in argument_lists:
        output = StringIO()
        try:
            with redirect_stdout(output):
                main(arguments)
        except ReproError as error:
            output.write(f"error: {error}\n")
        lines = [line for line in output.getvalue().splitlines() if line.startswith(("wrote", "error"))]
        results.append("\n".join(lines))  # frameworks print, too
    return results
