"""The import rules (the table in docs/design.md), read from the files and seen in a process."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = {"torch", "torchvision", "timm", "paddle", "mindspore", "mindcv"}
EXPORTERS = {"onnx", "paddle2onnx"}
ZOOS = {"torch": {"torchvision", "timm"}, "paddle": set(), "mindspore": {"mindcv"}}
CORE_FOR_BACKENDS = (
    "repro.specs",
    "repro.weights",
    "repro.interface",
    "repro.choices",
    "repro.errors",
    "repro.files",
    "repro.arrays",
    "repro.untrusted",
)


def imports(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            modules.add(node.module or "")
    return modules


def files(*parts: str) -> list[Path]:
    files = sorted(ROOT.joinpath(*parts).rglob("*.py"))
    assert files
    return files


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("path", files("repro"), ids=lambda path: str(path.relative_to(ROOT)))
def test_core_knows_no_framework(path: Path) -> None:
    assert not tops(path) & (FRAMEWORKS | {"backends"})


@pytest.mark.parametrize("path", files("repro", "specs"), ids=lambda path: path.name)
def test_specs_need_the_standard_library_alone(path: Path) -> None:
    allowed = set(sys.stdlib_module_names)
    assert all(
        name.partition(".")[0] in allowed or name.startswith(("repro.specs", "repro.errors")) for name in imports(path)
    )


@pytest.mark.parametrize("path", files("backends"), ids=lambda path: str(path.relative_to(ROOT)))
def test_backends_know_no_sibling(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    backend = parts[1] if len(parts) > 2 else None
    for name in imports(path):
        top = name.partition(".")[0]
        if top == "repro":
            assert name.startswith(CORE_FOR_BACKENDS), name
        elif top == "backends":
            assert name.startswith(f"backends.{backend}"), name
        else:
            allowed = EXPORTERS if path.name == "onnx_export.py" else set()
            if path.name == "peers.py" and backend:
                allowed = ZOOS[backend]
            assert top in {"numpy", backend} | allowed or top in sys.stdlib_module_names, name


@pytest.mark.parametrize("path", files("parity_tests"), ids=lambda path: path.name)
def test_tests_import_no_framework(path: Path) -> None:
    runs_in_a_worker = "programs" in path.parts or path == ROOT / "parity_tests/faults/faulty_backend.py"
    assert not tops(path) & FRAMEWORKS or runs_in_a_worker


# Functions that a framework calls in its own way
CALLBACKS = {"clear_grad", "construct_mapping", "hooked_call", "own_call"}


@pytest.mark.parametrize("folder", ["repro", "backends"])
def test_booleans_are_keyword_only(folder: str) -> None:
    positional = [
        f"{path.relative_to(ROOT)}: {node.name}({argument.arg})"
        for path in files(folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name not in CALLBACKS
        for argument in (*node.args.posonlyargs, *node.args.args)
        if argument.annotation is not None and ast.unparse(argument.annotation) == "bool"
    ]
    assert positional == []


def test_families_do_not_import_each_other() -> None:
    for backend in ("torch", "paddle", "mindspore"):
        for path in files("backends", backend, "models"):
            if path.name != "__init__.py":  # the table of families
                assert not any(name.startswith(f"backends.{backend}.models") for name in imports(path)), path


def test_same_files_in_every_backend() -> None:
    names = [{path.relative_to(ROOT / "backends" / backend) for path in files("backends", backend)}
             for backend in ("torch", "paddle", "mindspore")]  # fmt: skip
    # Keras computes with PyTorch, and with neither of the others
    assert names[0] - {Path("keras_models.py")} == names[1] == names[2]


def modules_after(*arguments: str) -> set[str]:
    command = [sys.executable, "-m", "parity_tests.programs.loaded_modules", *arguments]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return set(output.splitlines()[-1].split())


def test_core_starts_without_a_framework() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in files("repro")
    ]
    loaded = modules_after(*modules)
    assert "numpy" in loaded
    assert not loaded & FRAMEWORKS


def test_native_files_need_no_framework() -> None:
    loaded = modules_after(*(f"backends.{name}.native_weights" for name in ("torch", "paddle", "mindspore")))
    assert not loaded & FRAMEWORKS


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "dataset",
        "predict",
        "report",
        "compare",
        "reproduction",
        "ablation",
        "models",
        "parity",
        "port",
        "export",
        "bench",
    ],
)
def test_help_is_quick(command: str) -> None:
    """Neither a framework nor any of the slow libraries is loaded to print --help."""
    module = "repro.parity.__main__" if command == "parity" else f"repro.{command}"
    loaded = modules_after(module, "--", "--help")
    assert not loaded & (FRAMEWORKS | EXPORTERS | {"numpy", "matplotlib", "sklearn", "scipy"})


def test_digits_do_not_wait_for_scikit_learn() -> None:
    """Its own reader imports SciPy first, which takes longer than a training step."""
    loaded = modules_after("repro.dataset", "--", "stats", "digits")
    assert "PIL" in loaded
    assert not loaded & {"sklearn", "scipy"}
