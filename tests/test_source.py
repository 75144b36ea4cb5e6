"""What a failing script hands in is printed so that it can be pasted: with its imports, or with three dots and a word."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, Field

from flowstmt import CallbackRequest, Event, NotWaitingError, RefusedError, Statement, Step
from flowstmt.testing import Callback, CrashError, explore
from tests import test_hunt

HOUR = timedelta(hours=1)


class Color(Enum):
    RED = "red"


class Right(Flag):
    READ = 1
    WRITE = 2


@dataclass
class Line:
    sku: str
    price: Decimal = Decimal(1)
    tags: list[str] = field(default_factory=list)
    computed: int = field(default=0, init=False)


@dataclass
class Item:
    """There is another class of this name, in another module."""

    number: int = 0


class Point(NamedTuple):
    x: int
    y: int


class Model(BaseModel):
    amount: Decimal
    note: str = ""


class Aliased(BaseModel):
    amount: int = Field(alias="Amount")


class Outer:
    @dataclass
    class Inner:
        a: int


class Opaque:
    """Its repr is no expression."""


class Liar:
    """Its repr reads like one, but makes something else."""

    def __init__(self, a: int = 0) -> None:
        self.a = a

    def __repr__(self) -> str:
        return f"Liar({self.a + 1})"


class Broken:
    def __repr__(self) -> str:
        raise LookupError("no words")


@dataclass
class Derives:
    """What it was made of is kept nowhere."""

    text: InitVar[str]


@dataclass
class Fails:
    """Fails at once, so that whatever is handed in is printed."""

    greeting: str = ""

    def definition(self) -> Statement:
        return Step("fail", self.fail)

    def fail(self) -> None:
        raise LookupError("planted")


def fails() -> Fails:
    return Fails()


def always(workflow: Any, state: Any) -> bool:
    return True


def block(make: Callable[[], Any] = Fails, **options: Any) -> str:
    with pytest.raises(Exception, match="planted") as caught:
        explore(make, **options)
    return str(caught.value.__notes__[-1].partition("\n\n")[2])


def printed(payload: Any) -> str:
    """The line of a callback with this payload, and the imports above it."""
    from flowstmt.testing.plays import Failure, Scenario
    from flowstmt.testing.source import as_test

    failure = Failure([Callback("e", payload)], None, "planted", None, [])
    return as_test(Scenario(Fails, None, datetime(2030, 1, 1, tzinfo=UTC), None), failure)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (5, "5"),
        (True, "True"),
        ("it's", '"it\'s"'),
        ('say "hi"', "'say \"hi\"'"),
        (b'{"a": 1}', "b'{\"a\": 1}'"),
        (1.5, "1.5"),
        (math.inf, 'float("inf")'),
        (..., "Ellipsis"),
        ([1, (2,), (), {"a": {3}}], '[1, (2,), (), {"a": set([3])}]'),
        (frozenset("ba"), 'frozenset(["a", "b"])'),
        (Decimal("1.50"), 'Decimal("1.50")'),
        (Fraction(1, 3), 'Fraction("1/3")'),
        (UUID(int=5), 'UUID("00000000-0000-0000-0000-000000000005")'),
        (PurePosixPath("/a"), 'PurePath("/a")'),
        (date(2030, 1, 2), "date(2030, 1, 2)"),
        (time(12, 30), "time(12, 30)"),
        (timedelta(days=3, hours=2), "timedelta(days=3, seconds=7200)"),
        (datetime(2030, 1, 2), "datetime(2030, 1, 2, 0, 0)"),
        (datetime(2030, 1, 2, tzinfo=UTC), "datetime(2030, 1, 2, 0, 0, tzinfo=UTC)"),
        (datetime(2030, 1, 2, tzinfo=timezone(HOUR)), "datetime(2030, 1, 2, 0, 0, tzinfo=timezone(timedelta(seconds=3600)))"),
        (datetime(2030, 1, 2, tzinfo=ZoneInfo("UTC")), 'datetime(2030, 1, 2, 0, 0, tzinfo=ZoneInfo("UTC"))'),
        (Color.RED, "Color.RED"),
        (Right.READ, "Right.READ"),
        (Right.READ | Right.WRITE, "Right(3)"),
        (Line("tea"), 'Line(sku="tea")'),
        (Line("tea", Decimal("2.5"), ["hot"]), 'Line(sku="tea", price=Decimal("2.5"), tags=["hot"])'),
        (Point(1, 2), "Point(x=1, y=2)"),
        (Model(amount=Decimal(5)), 'Model(amount=Decimal("5"))'),
        (Outer.Inner(1), "Outer.Inner(a=1)"),
        (Line, "Line"),
        (partial(Line, "tea", price=Decimal(2)), 'partial(Line, "tea", price=Decimal("2"))'),
        (collections.OrderedDict(a=1), "OrderedDict([('a', 1)])"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_payload_is_printed_as_what_makes_it_again(payload: Any, text: str):
    source = printed(payload)
    assert f'Callback("e", {text}),\n' in source
    calls: list[Any] = []
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    namespace["explore"] = lambda make, script: calls.append(script[0].payload)
    namespace["test_the_script_runs_through"]()
    if isinstance(payload, partial):
        assert calls[0]() == payload()
    else:
        assert calls == [payload]


@pytest.mark.parametrize(
    "payload",
    [Opaque(), Liar(), Aliased(Amount=5), Derives("tea"), [Opaque()], lambda: 5],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_printed_is_three_dots_and_a_comment(payload: Any):
    assert f'Callback("e", ...),  # put here: {" ".join(repr(payload).split())[:60]}' in printed(payload)


def test_a_repr_that_raises_or_runs_on_does_no_harm():
    assert 'Callback("e", ...),  # put here: a Broken\n' in printed(Broken())
    assert "..." in printed(["x" * 100, Opaque()]).partition("# put here: ")[2]


def test_two_classes_of_one_name_are_both_imported():
    source = printed([Item(1), test_hunt.Item(test_hunt.Size.SMALL)])
    assert "from tests.test_hunt import Item as Item2, Size\n" in source
    assert "from tests.test_source import Fails, Item\n" in source
    assert "[Item(number=1), Item2(size=Size.SMALL)]" in source


def test_requests_are_printed_as_short_as_they_can_be_and_refusals_by_a_class_that_can_be_imported():
    from flowstmt.testing.plays import Failure, Scenario
    from flowstmt.testing.source import as_test

    class LocalError(RefusedError):
        pass

    script = [
        Callback(Event("paid", int)),
        Callback(CallbackRequest("paid", pc=9), refused=NotWaitingError),
        Callback("paid", refused=LocalError),
    ]
    source = as_test(Scenario(Fails, None, datetime(2030, 1, 1, tzinfo=UTC), None), Failure([*script], None, "", None, []))
    for line in (
        "from flowstmt import CallbackRequest, NotWaitingError, RefusedError\n",
        '            Callback("paid"),\n',
        '            Callback(CallbackRequest(name="paid", pc=9), refused=NotWaitingError),\n',
        '            Callback("paid", refused=RefusedError),\n',
    ):
        assert line in source


def test_what_has_a_name_is_imported_and_what_has_none_is_to_be_put_in():
    source = block(fails, invariant=always, deps=dict, now=datetime(2040, 1, 1, tzinfo=UTC))
    assert (
        source
        == """from datetime import UTC, datetime

from flowstmt.testing import explore
from tests.test_source import always, fails


def test_the_script_runs_through():
    explore(
        fails,
        [],
        invariant=always,
        deps=dict,
        now=datetime(2040, 1, 1, 0, 0, tzinfo=UTC),
    )
"""
    )
    source = block(lambda: Fails("hello"), deps=Opaque)
    assert (
        "        ...,  # what you gave as make: test_what_has_a_name_is_imported_and_what_has_none_is_to_be_put_in." in source
    )
    assert "<lambda>, test_source.py, line " in source
    assert "        deps=Opaque,\n" in source
    assert '        partial(Fails, "hi"),\n' in block(partial(Fails, "hi"))


def test_what_a_script_defines_is_to_be_put_in_since_nobody_knows_what_it_is_called(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Fails, "__module__", "__main__")
    assert "        ...,  # what you gave as make: Fails\n" in block(Fails)


def test_a_builtin_needs_no_import():
    assert "import dict" not in block(deps=dict)


def test_the_title_says_where_the_run_was_killed():
    with pytest.raises(CrashError, match=r"def test_a_run_killed_after_the_effect_of_action_at_charge\(\):"):
        explore(
            test_hunt.Charges,
            [Callback("add", test_hunt.Item(test_hunt.Size.SMALL)), Callback("pay")],
            deps=test_hunt.Bank,
        )


def test_a_path_of_this_system_is_printed_too(tmp_path: Path):
    assert f'PurePath("{tmp_path}")' in printed(PurePosixPath(tmp_path))
