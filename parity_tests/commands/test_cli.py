"""Tests of repro.cli: the console script, the names of commands in usage lines, and the help of every command."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import repro
from repro import cli

ROOT = Path(__file__).parents[2]
NAMES = [name for group in cli.COMMANDS.values() for name in group]


def run_script(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the console script with these arguments and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["/usr/bin/repro", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(monkeypatch, *arguments) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^  (\w+)", printed, re.MULTILINE) == NAMES
    modules = {path.stem for path in ROOT.glob("repro/*.py") if "def main(" in path.read_text()} - {"cli"}
    assert modules | set(cli.MODULES) == set(NAMES)


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"repro {repro.__version__}\n"


def test_the_version_is_defined_once() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project and 'attr = "repro.__version__"' in project


def test_unknown_commands_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(monkeypatch, "comapre") == 2
    assert capsys.readouterr().err.endswith("error: unknown command 'comapre': did you mean compare?\n")


@pytest.mark.parametrize("name", NAMES)
def test_usage_is_what_one_types(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(monkeypatch, name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: repro {name} ")
    module = importlib.import_module(cli.MODULES.get(name, f"repro.{name}"))
    monkeypatch.setattr(sys, "argv", [str(module.__file__), "--help"])
    with pytest.raises(SystemExit):
        module.main()
    assert capsys.readouterr().out.startswith(f"usage: python -m repro.{name} ")


class Built(Exception):
    """Raised in place of parsing, with the parser that a command has built."""


def every_parser(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of its commands."""
    yield parser
    for action in parser._actions:
        for command in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            yield from every_parser(command)


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_has_a_help_of_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise Built(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    module = importlib.import_module(cli.MODULES.get(name, f"repro.{name}"))
    with pytest.raises(Built) as caught:
        module.main([])
    for parser in every_parser(caught.value.args[0]):
        assert parser.description, parser.prog
        for action in parser._actions:
            if not isinstance(action, argparse._SubParsersAction):
                assert re.match(r"(?!default\b|of\b)\S+ .*\w", action.help or ""), (parser.prog, action.dest)


def test_former_names_of_commands_work(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script(monkeypatch, "sweep", "--help") == 0
    assert capsys.readouterr().out.startswith("usage: repro ablation ")
