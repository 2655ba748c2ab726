"""Every public name of repro/ and backends/ has a docstring, and no docstring begins as a fragment."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [path for folder in ("repro", "backends") for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]
TEST_FILES = sorted(ROOT.glob("parity_tests/**/*.py"))
OVERRIDES = {"forward", "construct", "walk"}  # methods whose meaning the framework, or Spec.walk, documents
# The openings of fragments, such as "Of what grows, in the last stage."
FRAGMENT = re.compile(
    r"(Of|Those|From|In|On|At|To|By|For|Where|Whether|With|Without|Beside|Besides|What|Whose|Which|Who|That|And|Or|But|"
    r"Also|As|Like|Only|Once|Instead|Else|The same as)\b"
)


def public_docstrings(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str | None]]:
    """Yield the dotted name and the docstring of every public class, function and method."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            name = f"{prefix}.{node.name}"
            if node.name not in OVERRIDES:
                yield name, ast.get_docstring(node)
            if isinstance(node, ast.ClassDef):
                yield from public_docstrings(node.body, name)


def docstrings_of(source: str, module: str) -> dict[str, str | None]:
    tree = ast.parse(source)
    return {module: ast.get_docstring(tree), **dict(public_docstrings(tree.body, module))}


def every_docstring() -> dict[str, str | None]:
    docstrings: dict[str, str | None] = {}
    for path in FILES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        docstrings |= docstrings_of(path.read_text(encoding="utf-8"), module)
    return docstrings


def test_every_public_name_has_a_docstring() -> None:
    docstrings = every_docstring()
    assert len(docstrings) > 900
    assert [name for name, text in docstrings.items() if not text] == []


def docstrings_in(source: str) -> Iterator[str]:
    """Yield every docstring, those of private and nested names included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
            yield text


def first_lines(source: str) -> Iterator[str]:
    """Yield the first line of every docstring."""
    return (text.splitlines()[0] for text in docstrings_in(source))


def test_no_docstring_begins_as_a_fragment() -> None:
    lines = [(path, line) for path in [*FILES, *TEST_FILES] for line in first_lines(path.read_text(encoding="utf-8"))]
    assert len(lines) > 1500
    assert [f"{path.relative_to(ROOT)}: {line}" for path, line in lines if FRAGMENT.match(line)] == []


def test_no_note_on_a_parameter_begins_as_a_fragment() -> None:
    """The note on a seed may be "that of the weights", and not "of the weights"."""
    notes = [
        f"{path.relative_to(ROOT)}: {note[0]}"
        for path in [*FILES, *TEST_FILES]
        for text in docstrings_in(path.read_text(encoding="utf-8"))
        for note in re.finditer(r"\b\w+: of\b.{0,40}", text)
    ]
    assert notes == []


@pytest.mark.parametrize(
    "text", ["Of what grows.", "Those that fit.", "From a file.", "Whether it is.", "The same as before."]
)
def test_a_fragment_is_noticed(text: str) -> None:
    source = f'"""A module."""\ndef missing(): pass\nclass C:\n    "{text}"\n    def _f(): "{text}"\n'
    assert docstrings_of(source, "m") == {"m": "A module.", "m.missing": None, "m.C": text}
    assert list(first_lines(source)) == ["A module.", text, text]
    assert FRAGMENT.match(text)
