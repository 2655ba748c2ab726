"""Every backend has the signatures of repro.interface.contract, as read from the sources without any framework."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from repro.interface.lazy import FUNCTIONS

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = ("torch", "paddle", "mindspore")
CONTRACT = ROOT / "repro/interface/contract.py"


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def class_body(module: ast.Module, name: str) -> list[ast.stmt]:
    """The statements of a class at the top level of a module."""
    (node,) = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
    return node.body


def signatures(body: list[ast.stmt]) -> dict[str, str]:
    """Function -> its parameters without `self` (names, kinds, defaults, annotations) and its return annotation."""
    texts: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            node.args.args = [argument for argument in node.args.args if argument.arg != "self"]
            texts[node.name] = f"({ast.unparse(node.args)}) -> {ast.unparse(node.returns) if node.returns else ''}"
    return texts


def names_assigned(body: list[ast.stmt]) -> set[str]:
    """The names that assignments and annotations give to variables."""
    names: set[str] = set()
    for node in body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def public(texts: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in texts.items() if not name.startswith("_")}


def contract(name: str) -> dict[str, str]:
    """The signatures of one of the contract's protocols."""
    return signatures(class_body(parse(CONTRACT), name))


def test_every_function_of_the_contract_has_a_module() -> None:
    assert contract("Backend").keys() == FUNCTIONS.keys() | {"version"}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("function", contract("Backend"))
def test_functions(backend: str, function: str) -> None:
    module = FUNCTIONS.get(function, "__init__")
    texts = signatures(parse(ROOT / f"backends/{backend}/{module}.py").body)
    assert texts.get(function) == contract("Backend")[function]


@pytest.mark.parametrize("backend", BACKENDS)
def test_trainers(backend: str) -> None:
    texts = signatures(class_body(parse(ROOT / f"backends/{backend}/trainer.py"), "Trainer"))
    assert public(texts) == contract("Trainer")


@pytest.mark.parametrize("backend", BACKENDS)
def test_native_weights(backend: str) -> None:
    module = parse(ROOT / f"backends/{backend}/native_weights.py")
    texts = signatures(module.body)
    for function, text in contract("NativeWeights").items():
        assert texts.get(function) == text
    assert names_assigned(class_body(parse(CONTRACT), "NativeWeights")) <= names_assigned(module.body)


@pytest.mark.parametrize("backend", BACKENDS)
def test_peers(backend: str) -> None:
    protocol = class_body(parse(ROOT / "repro/interface/peers.py"), "Peers")
    module = parse(ROOT / f"backends/{backend}/peers.py")
    texts = signatures(module.body)
    assert {name: texts.get(name) for name in signatures(protocol)} == signatures(protocol)
    assert names_assigned(protocol) <= names_assigned(module.body)


@pytest.mark.parametrize(
    "other",
    [
        "def step(self, pictures: np.ndarray, *, lr: float, ema: bool = False) -> float: ...",  # another name
        "def step(self, images: np.ndarray, lr: float, *, ema: bool = False) -> float: ...",  # another kind
        "def step(self, images: np.ndarray, *, lr: float, ema: bool = True) -> float: ...",  # another default
        "def step(self, images: np.ndarray, *, lr: float, ema: bool) -> float: ...",  # no default
        "def step(self, images: list, *, lr: float, ema: bool = False) -> float: ...",  # another annotation
        "def step(self, images: np.ndarray, *, lr: float, ema: bool = False) -> None: ...",  # another result
        "def step(self, images: np.ndarray, *, lr: float, ema: bool = False, **more: int) -> float: ...",
    ],
)
def test_another_signature_is_noticed(other: str) -> None:
    same = "def step(self, images: np.ndarray, *, lr: float, ema: bool=False) -> float: return 0.0"
    right = "def step(images: np.ndarray, *, lr: float, ema: bool = False) -> float: ..."
    assert signatures(ast.parse(same).body) == signatures(ast.parse(right).body)
    assert signatures(ast.parse(other).body) != signatures(ast.parse(right).body)
