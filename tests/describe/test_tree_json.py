"""A definition as JSON: all of it, in one order, so that two versions can be compared; and of which subjects there is one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from flowstmt import (
    Break,
    DefinitionError,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Scope,
    Sleep,
    Step,
    Timeout,
    Wait,
    WaitFor,
    describe,
    find,
    resume,
    walk,
)
from flowstmt import State as RunState
from tests.core.styles import STYLES, workflow_class
from tests.core.styles import Case as CoreCase
from tests.core.test_cases import CASES
from tests.describe.test_text import Everything

HOUR = timedelta(hours=1)


def told(tree: Any) -> dict[str, Any]:
    found = describe.to_json(tree)["definition"]
    assert json.loads(json.dumps(found)) == found
    return {key: value for key, value in found.items() if value not in ([], "")}


class Page:
    type = "a page"

    def teardown(self, request, handled): ...


def test_each_type_has_its_keys():
    assert told(Step("a", print, into="x", concurrent=True, was=("b",))) == {
        "type": "Step",
        "name": "a",
        "was": ["b"],
        "action": {"function": "print"},
        "into": "x",
        "concurrent": True,
        "transactional": False,
        "inline": False,
        "retry": None,
        "timeout": None,
        "compensate": None,
    }
    assert told(For("f", Sleep("s", HOUR), Break())) == {
        "type": "For",
        "name": "f",
        "condition": None,
        "max_iterations": None,
        "children": [
            {"type": "Sleep", "name": "s", "was": [], "duration": {"value": "PT1H"}, "children": []},
            {"type": "Break", "name": "", "was": [], "children": []},
        ],
    }
    assert told(For("f", True, Sleep("s", datetime(2030, 1, 1, tzinfo=UTC))))["condition"] == {"type": "bool"}
    assert told(ForEach("e", [1], Return(1.5))) == {
        "type": "ForEach",
        "name": "e",
        "items": {"type": "list"},
        "item_type": None,
        "children": [{"type": "Return", "name": "", "was": [], "value": {"value": 1.5}, "children": []}],
    }
    assert told(WaitFor("w", print, print)) == {
        "type": "WaitFor",
        "name": "w",
        "condition": {"function": "print"},
        "handler": {"function": "print"},
    }
    on, timeout = told(Wait("w", On("e", print, via=Page(), into="x"), Timeout("t", lambda: HOUR)))["children"]
    assert {key: value for key, value in on.items() if value != []} == {
        "type": "On",
        "name": "e",
        "handler": {"function": "print"},
        "into": "x",
        "via": "a page",
        "stay": False,
    }
    assert timeout["after"] == {"function": "lambda in test_each_type_has_its_keys"}
    go, join = told(S(Go("g", id=7, arg=[1]), Join("j", "g")))["children"]
    assert (go["id"], go["arg"], join["threads"]) == ({"value": 7}, {"type": "list"}, ["g"])


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, None),
        (True, {"value": True}),
        ("text\n", {"value": "text\n"}),
        (float("inf"), {"type": "float"}),
        ({"a": 1}, {"type": "dict"}),
        (HOUR, {"value": "PT1H"}),
        (datetime(2030, 1, 1, tzinfo=UTC), {"value": "2030-01-01T00:00:00Z"}),
        (10**30, {"value": 10**30}),
    ],
    ids=repr,
)
def test_a_constant_is_told_and_anything_else_by_its_type(value, seen):
    assert told(Return(value)).get("value") == seen


def test_names_are_whole_names_old_ones_too():
    tree = S(Scope("gift", Step("wrap", print, was=("pack",)), Go("g"), Join("j", "g"), was=("present",)))
    [scope] = told(tree)["children"]
    wrap, go, join = scope["children"]
    assert (scope["name"], wrap["name"], go["name"], join["name"], join["threads"]) == (
        "gift",
        "gift/wrap",
        "gift/g",
        "gift/j",
        ["gift/g"],
    )
    assert wrap["was"] == ["gift/pack", "present/pack", "present/wrap"]


def test_an_if_is_its_branches():
    [then, other, default] = told(If("paid", True).else_if("free", True).else_())["children"]
    assert [branch["type"] for branch in (then, other, default)] == ["Case", "Case", "Default"]
    assert (then["name"], other["name"], default["name"]) == ("paid", "free", "")


@dataclass
class Line:
    sku: str = ""


@dataclass
class Typed:
    lines: list[Line] = field(default_factory=list)

    def definition(self):
        return S(
            ForEach("lines", self.lines, Step("pack", self.pack)),
            ForEach("numbers", [1], Step("count", self.count)),
            Wait("answer", On("paid", self.take), On("kept", schema={"type": "string"}, into="lines")),
        )

    def pack(self, line: Line): ...
    def count(self, number: list[int]): ...
    def take(self, line: Line) -> int: ...  # type: ignore[empty-body]


def test_items_have_types_and_events_have_schemas():
    found = describe.to_json(Typed())
    assert (found["format"], found["workflow"], found["style"]) == (1, "Typed", "instance")
    lines, numbers, wait = found["definition"]["children"]
    assert (lines["item_type"], numbers["item_type"]) == ("Line", "list[int]")
    for event in wait["children"]:
        schemas = describe.event_schemas(Typed())["answer"][event["name"]]
        assert {key: event[key] for key in schemas} == schemas


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_statement_of_every_case_is_told(case: CoreCase):
    for style in STYLES:
        cls: Any = workflow_class(case.tree, style)
        work = cls(**case.start)
        found = describe.to_json(work)
        json.dumps(found, allow_nan=False)
        statements = list(flat(found["definition"]))
        assert [each["type"] for each in statements] == [type(each).__name__ for each in walk(work.definition())]
        for each in statements:
            assert list(each)[:3] == ["type", "name", "was"]
            assert list(each)[-1] == "children"
            assert not each["name"] or find(work.definition(), each["name"]) is not None
        assert len(describe.to_text(work).splitlines()) == 1 + sum(each["type"] != "S" for each in statements)


def flat(told: dict[str, Any]) -> Any:
    yield told
    for child in told["children"]:
        yield from flat(child)


def test_two_builds_are_told_alike_whatever_the_data():
    assert json.dumps(describe.to_json(Everything(True))) == json.dumps(describe.to_json(Everything(False)))


# --- subjects ---


@dataclass
class Needs:
    sku: str
    count: int
    note: str = ""

    def definition(self):
        return S(Step(self.sku, print))


@dataclass
class Fragile:
    lines: list[Line] = field(default_factory=list)

    def definition(self):
        return ForEach("each", self.lines[0].sku)


@dataclass
class Breaks:
    def __post_init__(self):
        raise OSError("no disk")

    def definition(self): ...


class Model(BaseModel):
    count: int = 0

    def definition(self):
        return Step("s", print)


@dataclass
class Shared:
    sku: str

    @classmethod
    def definition(cls):
        return Step("s", cls.ship)

    def ship(self): ...


@pytest.mark.parametrize("told", [describe.to_json, describe.to_mermaid, describe.to_text, describe.event_schemas])
def test_what_can_not_be_described_is_refused_with_the_way_out(told):
    with pytest.raises(
        DefinitionError, match=r"Needs: .* 'sku', 'count' have no default: describe an object of it, Needs\(\.\.\.\)"
    ):
        told(Needs)
    with pytest.raises(DefinitionError, match=r"raised IndexError.* built on an object made of defaults: describe an object"):
        told(Fragile)
    with pytest.raises(DefinitionError, match="making one of defaults raised OSError: no disk: describe an object of it"):
        told(Breaks)
    with pytest.raises(DefinitionError, match="it has no method definition"):
        told(Line)
    with pytest.raises(DefinitionError, match="it has no method definition"):
        told(42)
    with pytest.raises(DefinitionError, match="Break: stands outside of any loop"):
        told(Break())

    @dataclass
    class Faulty:
        def definition(self):
            return Break()

    with pytest.raises(DefinitionError, match="Break: stands outside of any loop"):
        told(Faulty)


def test_classes_objects_and_trees_are_described():
    assert describe.to_json(Needs("tea", 1))["definition"]["children"][0]["name"] == "tea"
    assert describe.to_json(Model) == describe.to_json(Model())
    assert describe.to_json(Shared) == describe.to_json(Shared("tea"))
    assert describe.to_json(Shared)["style"] == "class"
    tree = describe.to_json(Step("s", print))
    assert (tree["workflow"], tree["style"]) == (None, "tree")


def test_describing_decides_nothing_for_runs():
    @dataclass
    class Growing:
        steps: tuple[str, ...] = ()

        def definition(self):
            return S(*(Step(name, print) for name in self.steps))

    assert describe.to_text(Growing).count("Step") == 0
    assert describe.to_text(Growing(("a", "b"))).count("Step") == 2
    assert resume(Growing(("a", "b", "c")), RunState.new("g-1", "Growing")) == "Finished"
    assert describe.to_text(Growing(("a",))).count("Step") == 1
