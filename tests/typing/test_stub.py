"""``statements.pyi`` says what ``statements.py`` is: the same classes, with the same attributes and parameters."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from flowstmt.core import statements

MODULE = Path(statements.__file__)
STUB = ast.parse(MODULE.with_suffix(".pyi").read_text("utf-8"))
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef) and node.name in statements.__all__}
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}


def parameters(arguments: ast.arguments) -> dict[str, tuple[Any, bool]]:
    """Kind, and whether it may be left out, of each parameter but the first."""
    kinds = inspect.Parameter
    found: dict[str, tuple[Any, bool]] = {}
    plain = arguments.args
    optional = len(plain) - len(arguments.defaults)
    for index, argument in enumerate(plain):
        found[argument.arg] = (kinds.POSITIONAL_OR_KEYWORD, index >= optional)
    if arguments.vararg is not None:
        found[arguments.vararg.arg] = (kinds.VAR_POSITIONAL, False)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found[argument.arg] = (kinds.KEYWORD_ONLY, default is not None)
    return found


def of_module(call: Any) -> dict[str, tuple[Any, bool]]:
    return {
        name: (parameter.kind, parameter.default is not parameter.empty)
        for name, parameter in inspect.signature(call).parameters.items()
    }


def signatures(name: str, method: str) -> Iterator[dict[str, tuple[Any, bool]]]:
    for node in CLASSES[name].body:
        if isinstance(node, ast.FunctionDef) and node.name == method:
            yield {key: value for key, value in parameters(node.args).items() if key not in ("cls", "self")}


def test_the_stub_has_the_classes_and_functions_of_the_module() -> None:
    told = next(
        ast.literal_eval(node.value) for node in STUB.body if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node)
    )
    assert told == statements.__all__ == sorted({*CLASSES, *FUNCTIONS})


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_constructor_in_the_stub_takes_what_the_module_takes(name: str) -> None:
    if name == "Statement":
        return
    taken = of_module(getattr(statements, name))
    if name == "For":  # its condition may be left out, which the module sees by the type of what comes second
        taken["cond"] = (taken["cond"][0], False)
    found = list(signatures(name, "__new__"))
    assert found
    for overload in found:
        for parameter, (kind, optional) in overload.items():
            assert parameter in taken
            assert kind in (taken[parameter][0], inspect.Parameter.KEYWORD_ONLY)
            # An overload may insist on what the module would let pass, never the other way round.
            assert not optional or taken[parameter][1]
    together = {parameter for overload in found for parameter in overload}
    assert together == set(taken)
    for parameter, (_, optional) in taken.items():
        if optional:
            assert any(overload.get(parameter, (None, True))[1] for overload in found), f"{name}: {parameter} can be left out"


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_attribute_of_the_stub_is_a_slot_of_the_module_and_every_method_is_one(name: str) -> None:
    cls = getattr(statements, name)
    told = {
        node.target.id for node in CLASSES[name].body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    slots = set(cls.__slots__)
    assert told == slots - {"name", "body", "was"} or name == "Event"
    assert name != "Event" or told == slots
    for node in CLASSES[name].body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
            assert hasattr(cls, node.name)
    methods = {method for method in vars(cls) if inspect.isfunction(vars(cls)[method]) and not method.startswith("_")}
    assert methods <= {node.name for node in CLASSES[name].body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("name", ["else_", "else_if"])
def test_the_methods_of_an_if_take_what_the_module_takes(name: str) -> None:
    taken = of_module(getattr(statements.If, name))
    taken.pop("self")
    for overload in signatures("If", name):
        assert overload == taken


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_in_the_stub_takes_what_the_module_takes(name: str) -> None:
    assert parameters(FUNCTIONS[name].args) == of_module(getattr(statements, name))


def test_the_bases_of_the_stub_are_those_of_the_module() -> None:
    for name, node in CLASSES.items():
        bases = {base.value.id for base in node.bases if isinstance(base, ast.Subscript) and isinstance(base.value, ast.Name)}
        assert bases - {"Generic"} == {base.__name__ for base in getattr(statements, name).__bases__} - {"object", "Generic"}


def test_every_statement_can_be_subscribed_at_run_time() -> None:
    """Annotations are evaluated where a module does not import them from the future."""
    assert get_origin(statements.S[int]) is statements.S
    assert get_args(statements.Statement[int, str, bytes]) == (int, str, bytes)


def test_the_module_itself_keeps_to_its_types() -> None:
    """Checked by its name: as a module of the package a checker reads the stub instead of it."""
    command = [sys.executable, "-m", "mypy", str(MODULE)]
    done = subprocess.run(command, cwd=MODULE.parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
