"""Each stub says what its module is: the same classes, with the same attributes and parameters."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin

import pytest

from flowstmt.core import statements

CORE = Path(statements.__file__).parent
STUBS = sorted(path.stem for path in CORE.glob("*.pyi"))
COMMON = {"name", "body", "was"}


class Stub:
    """A stub and its module."""

    def __init__(self, name: str) -> None:
        self.module: ModuleType = importlib.import_module(f"flowstmt.core.{name}")
        self.tree = ast.parse((CORE / f"{name}.pyi").read_text("utf-8"))
        self.exported: list[str] = self.module.__all__
        self.classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}
        self.functions = {node.name: node for node in self.tree.body if isinstance(node, ast.FunctionDef)}
        self.statements = {
            name: node
            for name, node in self.classes.items()
            if name in self.exported and issubclass(getattr(self.module, name), statements.Statement | statements.Event)
        }

    def signatures(self, name: str, method: str) -> Iterator[dict[str, tuple[Any, bool]]]:
        for node in self.classes[name].body:
            if isinstance(node, ast.FunctionDef) and node.name == method:
                yield {key: value for key, value in parameters(node.args).items() if key not in ("cls", "self")}


LOADED = {name: Stub(name) for name in STUBS}
STATEMENTS = [(stub, name) for stub in STUBS for name in sorted(LOADED[stub].statements)]
OTHERS = [
    (stub, name)
    for stub in STUBS
    for name in LOADED[stub].exported
    if name in LOADED[stub].classes and name not in LOADED[stub].statements
]
METHODS = [
    (stub, name, method)
    for stub, name in STATEMENTS
    for method in sorted(
        {
            method
            for method, value in vars(getattr(LOADED[stub].module, name)).items()
            if inspect.isfunction(value) and not method.startswith("_")
        }
    )
]
FUNCTIONS = [(stub, name) for stub in STUBS for name in sorted(LOADED[stub].functions)]


def parameters(arguments: ast.arguments) -> dict[str, tuple[Any, bool]]:
    """Kind, and whether it may be left out, of each parameter."""
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


def attributes(node: ast.ClassDef) -> set[str]:
    return {inner.target.id for inner in node.body if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name)}


def holds_together(found: list[dict[str, tuple[Any, bool]]], taken: dict[str, tuple[Any, bool]]) -> None:
    """Overloads take, between them, what the module takes, and none of them more."""
    assert found
    for overload in found:
        for parameter, (kind, optional) in overload.items():
            assert parameter in taken
            assert kind in (taken[parameter][0], inspect.Parameter.KEYWORD_ONLY)
            # An overload may insist on what the module would let pass, never the other way round.
            assert not optional or taken[parameter][1]
    assert {parameter for overload in found for parameter in overload} == set(taken)
    for parameter, (_, optional) in taken.items():
        if optional:
            assert any(overload.get(parameter, (None, True))[1] for overload in found), f"{parameter} can be left out"


@pytest.mark.parametrize("stub", STUBS)
def test_a_stub_exports_what_its_module_does_and_defines_all_of_it(stub: str) -> None:
    told = LOADED[stub]
    assigned: dict[str, ast.expr | None] = {}
    for node in told.tree.body:
        if isinstance(node, ast.Assign):
            assigned |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            assigned[node.target.id] = node.value
    exported = assigned["__all__"]
    assert exported is not None
    assert ast.literal_eval(exported) == told.exported
    assert set(told.exported) <= {*told.classes, *told.functions, *assigned}
    assert set(told.functions) <= set(told.exported)


@pytest.mark.parametrize(("stub", "name"), STATEMENTS)
def test_every_constructor_in_a_stub_takes_what_the_module_takes(stub: str, name: str) -> None:
    if name == "Statement":
        return
    taken = of_module(getattr(LOADED[stub].module, name))
    if name == "For":  # its condition may be left out, which the module sees by the type of what comes second
        taken["cond"] = (taken["cond"][0], False)
    holds_together(list(LOADED[stub].signatures(name, "__new__")), taken)


@pytest.mark.parametrize(("stub", "name"), STATEMENTS)
def test_every_attribute_of_a_stub_is_a_slot_of_the_module_and_every_method_is_one(stub: str, name: str) -> None:
    cls, node = getattr(LOADED[stub].module, name), LOADED[stub].classes[name]
    slots = set(cls.__slots__)
    assert attributes(node) == (slots if name == "Event" else slots - COMMON)
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("__"):
            assert hasattr(cls, inner.name)


@pytest.mark.parametrize(("stub", "name", "method"), METHODS)
def test_the_methods_of_a_statement_take_what_the_module_takes(stub: str, name: str, method: str) -> None:
    taken = of_module(getattr(getattr(LOADED[stub].module, name), method))
    taken.pop("self")
    holds_together(list(LOADED[stub].signatures(name, method)), taken)


@pytest.mark.parametrize(("stub", "name"), OTHERS)
def test_what_is_no_statement_has_the_attributes_of_the_module(stub: str, name: str) -> None:
    cls = getattr(LOADED[stub].module, name)
    assert attributes(LOADED[stub].classes[name]) == set(cls.__slots__)


@pytest.mark.parametrize(("stub", "name"), FUNCTIONS)
def test_every_function_in_a_stub_takes_what_the_module_takes(stub: str, name: str) -> None:
    assert parameters(LOADED[stub].functions[name].args) == of_module(getattr(LOADED[stub].module, name))


@pytest.mark.parametrize(("stub", "name"), STATEMENTS)
def test_the_bases_in_a_stub_are_those_of_the_module(stub: str, name: str) -> None:
    found = LOADED[stub].classes[name].bases
    bases = {base.value.id for base in found if isinstance(base, ast.Subscript) and isinstance(base.value, ast.Name)}
    wanted = {base.__name__ for base in getattr(LOADED[stub].module, name).__bases__}
    assert bases - {"Generic"} == wanted - {"object", "Generic"}


def test_every_statement_of_core_is_in_a_stub() -> None:
    from flowstmt.core.nodes import KINDS

    assert {kind.__name__ for kind in KINDS} <= {name for _, name in STATEMENTS}


def test_every_statement_can_be_subscribed_at_run_time() -> None:
    """Annotations are evaluated where a module does not import them from the future."""
    assert get_origin(statements.S[int]) is statements.S
    assert get_args(statements.Statement[int, str, bytes]) == (int, str, bytes)


def test_the_modules_themselves_keep_to_their_types() -> None:
    """Checked by their names, in one go: as modules of the package a checker reads the stubs instead of them."""
    modules = [str(CORE / f"{name}.py") for name in STUBS]
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", *modules]
    done = subprocess.run(command, cwd=CORE.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
