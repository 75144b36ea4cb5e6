"""What can be linted, what a finding says, and what is not looked at."""

from __future__ import annotations

import cProfile
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from flowstmt import Break, DefinitionError, For, On, Return, S, Step, Timeout, Wait, lint
from flowstmt.lint.sites import Sites
from tests.lint.snippets import found, module_of

T = TypeVar("T")


@dataclass
class Order:
    sku: str
    paid: int = 0

    def definition(self):
        return S(
            Wait("payment", On("paid", into="paid")),
            Step("ship", self.ship),
        )

    def ship(self):
        raise AssertionError("lint ran an action")


def test_a_finding_says_where_what_and_what_to_do():
    (finding,) = lint.check(Order)
    line = Order.definition.__code__.co_firstlineno + 2
    assert finding.to_json() == {
        "code": "FS101",
        "workflow": "Order",
        "place": "Wait 'payment'",
        "message": "nothing but somebody outside ends it: if nobody does, the run waits for ever",
        "cure": "Give it a Timeout that says what happens then",
        "file": __file__,
        "line": line,
    }
    assert json.dumps(finding.to_json())
    assert str(finding).startswith(f"{__file__}:{line}: FS101 Order: Wait 'payment': nothing but")
    assert "spans" not in repr(finding)


def test_a_class_an_object_a_tree_and_several_of_them_are_linted():
    tree = S(Return(), Step("never", print))
    assert [finding.code for finding in lint.check(Order)] == ["FS101"]
    assert lint.check(Order) == lint.check(Order("tea")) == lint.check(Order("tea"), Order)
    assert [(found.code, found.workflow, found.line) for found in lint.check(tree)] == [("FS401", "definition", None)]
    assert [finding.code for finding in lint.check(Order, tree)] == ["FS401", "FS101"]
    late = S(Wait("w", On("a"), Timeout("t", timedelta(days=1))), Return("done"))
    assert lint.check(late) == []  # whether it says the same for each run, only a source would tell
    assert lint.check() == []


def test_codes_are_ignored_on_request():
    assert lint.check(Order, ignore=["FS101"]) == []
    assert lint.check(Order, ignore={"FS501"}) == lint.check(Order)
    with pytest.raises(ValueError, match="there is no code 'FS100' to ignore"):
        lint.check(Order, ignore=["FS101", "FS100"])


@dataclass
class Faulty:
    def definition(self):
        nothing: Any = None
        return S(Step("a", nothing), Step("a", print))


@dataclass
class WithoutReturn:
    def definition(self):
        S(Step("a", print))


def test_the_faults_of_a_definition_are_findings():
    first, second = lint.check(Faulty)
    assert [(finding.code, finding.place) for finding in (first, second)] == [("FS002", "Step 'a'")] * 2
    assert first.message == "action must be a callable, not None; was it called where it should be named?"
    assert (first.file, first.line) == (__file__, Faulty.definition.__code__.co_firstlineno)
    (finding,) = lint.check(WithoutReturn)
    assert (finding.place, finding.message[:40]) == ("definition()", "must return a statement, not None; was '")
    (finding,) = lint.check(Break())
    assert (finding.place, finding.file) == ("Break", None)


def test_what_is_no_workflow_is_refused():
    for wrong in (3, object(), int, None):
        with pytest.raises(DefinitionError, match="expected a workflow or a tree of statements"):
            lint.check(wrong)


class Size(Enum):
    SMALL = 1


class Empty(Enum):
    pass


class Model(BaseModel):
    text: str
    more: int = 3


class Strict:
    def __init__(self, must: int) -> None:
        raise AssertionError


@dataclass
class Part:
    name: str
    size: Size


@dataclass
class Everything:
    text: str
    count: Annotated[int, "more than 0"]
    maybe: int | None
    either: Literal["a", "b"]
    at: datetime
    day: date
    clock: time
    span: timedelta
    price: Decimal
    key: UUID
    path: Path
    parts: Sequence[Part]
    mapping: dict[str, int]
    part: Part
    size: Size
    empty: Empty
    anything: Any
    strict: Strict
    text_or_number: str | int
    made: list[int] = field(default_factory=list)
    seen: int = field(default=0, init=False)

    def definition(self):
        made: Any = self
        assert made.part == Part("", Size.SMALL)
        assert (made.maybe, made.either, made.count, made.parts, made.mapping, made.empty) == (None, "a", 0, [], {}, None)
        assert (made.text_or_number, made.strict, made.anything) == ("", None, None)
        return Step("a", lambda: self.at + self.span)


class OfPydantic(BaseModel):
    model: Model
    items: tuple[int, ...]

    def definition(self):
        return For("each", Step(f"a {self.items}", print), Break())


class WithNothing(BaseModel):
    def definition(self):
        return Step("a", print)


def test_data_is_made_up_for_a_class_whose_fields_have_no_defaults():
    assert lint.check(Everything, OfPydantic, WithNothing) == []
    assert lint.stand_ins.stand_in(T) is None


@dataclass
class Picky:
    sku: str

    def __post_init__(self):
        if not self.sku:
            raise ValueError("a sku is needed")

    def definition(self):
        return Step(self.sku[0], print)


@dataclass
class Hungry:
    lines: list[str]

    def definition(self):
        return Step(self.lines[0], print)


def test_a_class_that_needs_real_data_says_so_and_an_object_will_do():
    with pytest.raises(DefinitionError, match=r"none could be made up: ValueError: a sku is needed\. Lint an object of it"):
        lint.check(Picky)
    with pytest.raises(DefinitionError, match=r"raised IndexError.*built on an object that was made up: lint an object"):
        lint.check(Hungry)
    assert lint.check(Picky("tea"), Hungry(["tea"])) == []
    with pytest.raises(DefinitionError, match=r"raised IndexError(?!.*made up)"):
        lint.check(Hungry([]))


def test_what_needs_a_source_is_passed_over_without_one_and_the_log_says_so_once(caplog):
    scope: dict[str, Any] = {"__name__": __name__}
    source = """
from dataclasses import dataclass
from flowstmt import *
from uuid import uuid4
@dataclass
class Unwritten:
    def definition(self):
        return S(Wait("a", On("b")), If(str(uuid4()), True, Return()), Step("c", self.act))
    def act(self): ...
"""
    exec(source, scope)
    (finding,) = lint.check(scope["Unwritten"], scope["Unwritten"]())
    assert (finding.code, finding.file, finding.line) == ("FS101", "<string>", 8)
    assert [record.getMessage() for record in caplog.records] == [
        "the source of Unwritten.definition is not to be had: what needs it was not checked"
    ]


def test_a_source_that_is_not_that_of_the_running_code_does_no_harm(tmp_path, caplog):
    module = module_of("@dataclass\nclass Order:\n    def definition(self):\n        return Step('a', lambda: 1)\n", tmp_path)
    assert module.__file__ is not None
    for text in ("", "x = (\n", "def other(): ...\n" * 20, "class Order:\n" * 12 + "    '''", "    )\n" * 30):
        Path(module.__file__).write_text(text, encoding="utf-8")
        assert found(module) == []
    assert caplog.records


def test_whoever_profiles_the_program_goes_on_doing_so():
    seen = []

    def profile(frame, event, argument):
        seen.append(event)

    sys.setprofile(profile)
    try:
        lint.check(Order)
        assert sys.getprofile() is profile
    finally:
        sys.setprofile(None)
    with cProfile.Profile() as profiler:
        assert [finding.code for finding in lint.check(Order)] == ["FS101"]
    assert profiler.getstats()


class Peeping:
    """A condition that looks at the constructor which it is handed to."""

    def __init__(self, sites: Sites) -> None:
        self.sites = sites

    @property  # type: ignore[misc] # what For asks its condition for
    def __class__(self) -> type[Any]:
        frame = sys._getframe(1)
        for event, value in (("line", None), ("call", None), ("call", None), ("return", LONGER), ("return", LONGER)):
            self.sites.note(frame, event, value)
        return bool


LONGER = For("longer", Break())


def test_the_watch_notes_what_it_sees():
    # By hand, as what a profile function does is shown to nobody.
    sites = Sites(Order)
    peeping: Any = Peeping(sites)
    (loop,) = [For("loop", peeping, Break()) for _ in [Order]]
    site = sites.of(loop)
    assert site is not None
    assert (site.codes[-1].co_name, site.line) == (sys._getframe().f_code.co_name, sys._getframe().f_lineno - 3)
    assert sites.of(LONGER) == site
    assert sites.of(Break()) is None


class Stage(Step):
    """A statement of a user's own."""

    def __init__(self, name, action):
        super().__init__(f"stage {name}", action, into="paid")  # type: ignore[call-arg] # checkers see __new__ alone


PAUSE = Wait("made before", On("go on"))


made_by_lambda = lambda name: Wait(name, On("x"))  # noqa: E731 another one, elsewhere


@dataclass
class ByLambda:
    definition = lambda self: Wait("d", On("x"))  # noqa: E731 nobody forbids it


@dataclass
class Odd(Order):
    def definition(self):
        return S(
            Stage("one", print),
            PAUSE,
            *map(lambda name: Wait(name, On("x")), ("a", "b")),  # noqa: C417 a lambda makes them
            made_by_lambda("c"),
            For("loop", Timeoutless(), *[Break()]),
            Return(),
            Stage("never", print),
        )


@dataclass
class HandsOn:
    key: str = ""

    @staticmethod
    def definition():
        assert uuid4().hex
        return PAUSE


def test_a_definition_that_makes_nothing_itself_is_looked_at():
    found = lint.check(HandsOn())
    assert [(finding.code, finding.place) for finding in found] == [("FS101", "Wait 'made before'"), ("FS501", "definition()")]
    assert found == lint.check(HandsOn)


class Timeoutless(Wait):
    def __init__(self):
        super().__init__("own", *[On("y")])  # type: ignore[call-arg] # checkers see __new__ alone


def test_statements_that_are_made_in_unusual_ways_are_found_too():
    first = Odd.definition.__code__.co_firstlineno
    found = [(finding.code, finding.place, (finding.line or 0) - first) for finding in lint.check(Odd)]
    assert sorted(found) == [
        ("FS101", "Wait 'a'", 4),
        ("FS101", "Wait 'b'", 4),
        ("FS101", "Wait 'c'", made_by_lambda.__code__.co_firstlineno - first),
        ("FS101", "Wait 'made before'", 1),  # where it stands is not known: the row that it is in
        ("FS101", "Wait 'own' in For 'loop'", 6),
        ("FS401", "Step 'stage never'", 8),
    ]
    (finding,) = lint.check(ByLambda)
    assert finding.line == ByLambda.definition.__code__.co_firstlineno


def test_the_guide_has_a_line_and_a_section_for_every_code():
    guide = (Path(__file__).parent.parent.parent / "docs" / "lint.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(FS\d+)\]\(#(fs\d+)\) \| (.+?) \|", guide, re.MULTILINE)
    assert [(code, title) for code, _, title in rows] == list(lint.CODES.items())
    assert re.findall(r"^### (FS\d+)$", guide, re.MULTILINE) == list(lint.CODES)
    assert all(anchor == code.lower() for code, anchor, _ in rows)
