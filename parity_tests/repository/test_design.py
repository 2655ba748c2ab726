"""The map in docs/design.md against the imports of every file: table of rooms, diagram, and no import cycles."""

from __future__ import annotations

import ast
import re
import sys
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DESIGN = (ROOT / "docs/design.md").read_text(encoding="utf-8")
FILES = [path.relative_to(ROOT) for folder in ("repro", "backends") for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]

Imports = frozenset[tuple[str, bool]]
"""Names of modules and packages, each with whether it is imported only for type checkers."""


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


@cache
def imports(path: Path) -> Imports:
    """Return what a file imports, at its top or inside a function; `from package import module` names the module."""
    names: set[tuple[str, bool]] = set()

    def visit(node: ast.AST, typing_only: bool) -> None:
        if isinstance(node, ast.Import):
            names.update((alias.name, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = node.module or ""
            for alias in node.names:
                module = f"{package}.{alias.name}"
                names.add((module if module in MODULES else package, typing_only))
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                visit(statement, True)
            for statement in node.orelse:
                visit(statement, typing_only)
        else:
            for child in ast.iter_child_nodes(node):
                visit(child, typing_only)

    visit(ast.parse((ROOT / path).read_text(encoding="utf-8")), False)
    return frozenset(names)


def code_words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def read_table() -> tuple[dict[str, list[str]], dict[str, set[str]]]:
    """Return the patterns of each room's files, and the rooms and packages that each room may import."""
    section = DESIGN.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    patterns = {code_words(room)[0]: code_words(files) for room, files, _, _ in rows}
    allowed = {code_words(room)[0]: set(code_words(names)) for room, _, _, names in rows}
    return patterns, allowed


PATTERNS, ALLOWED = read_table()


def room_of(path: Path) -> str:
    """Return the first room of the table one of whose patterns the file matches; `folder/` matches all below it."""
    for room, patterns in PATTERNS.items():
        for pattern in patterns:
            if path.as_posix().startswith(pattern) if pattern.endswith("/") else fnmatch(path.as_posix(), pattern):
                return room
    raise AssertionError(f"docs/design.md has no room for {path}")


def imported_rooms_and_packages(path: Path) -> set[str]:
    """Return the rooms other than its own, and the packages outside the standard library, that a file imports."""
    names = set()
    for name, _ in imports(path):
        if name in MODULES:
            names.add(room_of(MODULES[name]))
        elif (top := name.partition(".")[0]) not in sys.stdlib_module_names:
            names.add(top)
    return names - {room_of(path)}


def test_every_file_has_a_room() -> None:
    assert {room_of(path) for path in FILES} == set(PATTERNS)


@pytest.mark.parametrize("room", PATTERNS)
def test_the_table_lists_what_a_room_imports(room: str) -> None:
    users: dict[str, Path] = {}
    for path in FILES:
        if room_of(path) == room:
            users |= dict.fromkeys(imported_rooms_and_packages(path), path)
    new = {name: str(path) for name, path in users.items() if name not in ALLOWED[room]}
    assert not new, f"{room} may not import these, see the table of rooms in docs/design.md: {new}"
    unused = ALLOWED[room] - users.keys()
    assert not unused, f"{room} imports none of these; take them out of the table of rooms in docs/design.md: {unused}"


def test_the_table_of_a_backend_lists_its_files() -> None:
    section = DESIGN.partition("\n## A backend\n")[2].partition("\n## ")[0]
    listed = {name for line in section.splitlines() if line.startswith("| `") for name in code_words(line)[:1]}
    files = {path.name for path in ROOT.glob("backends/torch/*.py")} | {"models/<family>.py"}
    assert listed == files - {"__init__.py"}


def test_only_commands_import_commands() -> None:
    assert [room for room, names in ALLOWED.items() if "commands" in names] == []


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node (Tarjan)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def connect(node: str) -> None:
        index[node] = lowest[node] = len(index)
        stack.append(node)
        for other in sorted(edges[node]):
            if other not in index:
                connect(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], index[other])
        if lowest[node] == index[node]:
            start = stack.index(node)
            component = stack[start:]
            del stack[start:]
            if len(component) > 1:
                components.append(component)

    for node in edges:
        if node not in index:
            connect(node)
    return components


def test_cycles_worked_by_hand() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "d"}}) == [["b", "c"]]


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports inside functions count; those for type checkers only do not."""
    edges = {
        name: {module for module, typing_only in imports(path) if module in MODULES and not typing_only}
        for name, path in MODULES.items()
    }
    assert cycles(edges) == []


def test_no_room_imports_itself_in_a_circle() -> None:
    """Imports for type checkers count, too."""
    assert cycles({room: names & ALLOWED.keys() for room, names in ALLOWED.items()}) == []


def reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    nodes: set[str] = set()
    waiting = [start]
    while waiting:
        for node in edges.get(waiting.pop(), set()) - nodes:
            nodes.add(node)
            waiting.append(node)
    return nodes


def test_the_diagram_is_that_of_the_table() -> None:
    """Every arrow is in the table, and every import of the table is an arrow or follows from several."""
    diagram = DESIGN.partition("```mermaid\n")[2].partition("```")[0]
    arrows: dict[str, set[str]] = {}
    for line in diagram.splitlines():
        left, arrow, right = line.partition(" --> ")
        if arrow:
            for room in left.split(" & "):
                arrows.setdefault(room.strip(), set()).update(other.strip() for other in right.split(" & "))
    rooms = {room: names & ALLOWED.keys() for room, names in ALLOWED.items()}
    assert {room: sorted(names - rooms[room]) for room, names in arrows.items() if names - rooms[room]} == {}
    missing = {room: sorted(names - reachable(arrows, room)) for room, names in rooms.items()}
    assert {room: names for room, names in missing.items() if names} == {}
