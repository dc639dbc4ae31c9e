"""crnn_ext/_C.pyi says what the compiled module holds: its names, and their parameters."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import crnn_ext
from crnn_ext import _C

STUB = ast.parse(Path(crnn_ext.__file__).with_name("_C.pyi").read_text(encoding="utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}
FUNCTIONS |= {  # lstm_forward_f64 = lstm_forward_f32
    target.id: FUNCTIONS[node.value.id]
    for node in STUB.body
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name)
    for target in node.targets
    if isinstance(target, ast.Name)
}
ADDED_BY_PYBIND11 = {"__init__", "__doc__", "__module__", "_pybind11_conduit_v1_"}


def names(body: list[ast.stmt]) -> set[str]:
    """What a stub declares; names that begin with one underscore are for types alone."""
    found = {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return {name for name in found if name.startswith("__") or not name.startswith("_")}


def declared(function: ast.FunctionDef) -> list[str | None]:
    """Parameters without `self`; None for those that are given by position only."""
    parameters = [None] * len(function.args.posonlyargs) + [a.arg for a in function.args.args]
    method = "self" in (a.arg for a in (*function.args.posonlyargs, *function.args.args))
    return parameters[method:]


def bound(function: Any) -> list[str | None]:
    """The same of a bound function, from the first line of what pybind11 says of it."""
    (signature,) = function.__doc__.strip().splitlines()
    while signature != (signature := re.sub(r"\[[^\[\]]*\]", "", signature)):
        pass  # types in brackets have commas of their own
    inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    parameters = [part.split(":")[0].strip() for part in inside.split(",") if part.strip()]
    given = [name for name in parameters if name != "self"]
    return [None if re.fullmatch(r"arg\d+", name) else name for name in given]


def test_the_module_holds_the_names_of_the_stub() -> None:
    held = {name for name in vars(_C) if not name.startswith("__")}
    assert names(STUB.body) == held


@pytest.mark.parametrize("name", sorted(names(list(CLASSES.values())) - {"CudaError"}))
def test_a_class_holds_the_names_of_the_stub(name: str) -> None:
    # __buffer__ is how Python 3.12 and types spell what C does without a name.
    assert names(CLASSES[name].body) - {"__init__", "__buffer__"} == (
        set(vars(getattr(_C, name))) - ADDED_BY_PYBIND11 - {"__buffer__", "__release_buffer__"}
    )


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_has_the_parameters_of_the_stub(name: str) -> None:
    assert declared(FUNCTIONS[name]) == bound(getattr(_C, name))


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        pytest.param(owner, node, id=f"{owner}.{node.name}")
        for owner, stub in CLASSES.items()
        for node in stub.body
        if isinstance(node, ast.FunctionDef) and node.name != "__buffer__"
    ],
)
def test_a_method_has_the_parameters_of_the_stub(owner: str, method: ast.FunctionDef) -> None:
    assert declared(method) == bound(getattr(getattr(_C, owner), method.name))
