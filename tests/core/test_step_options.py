"""Options of steps that stand with their actions: ``@step``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial, wraps
from typing import Any, Self

import pytest

from flowstmt import (
    DefinitionError,
    ForEach,
    Retry,
    S,
    State,
    Statement,
    Step,
    dump,
    load,
    resume,
    resume_async,
    step,
    validate,
)
from flowstmt.core.options import options_of
from flowstmt.core.program import program_of
from flowstmt.testing import START, Harness

HOUR = timedelta(hours=1)
TWICE = Retry(max_attempts=2, initial=HOUR, max_delay=HOUR)
ONCE = Retry(max_attempts=1)


def noisy(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


def shy(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that hands nothing on but what it wraps."""

    def call(*arguments: Any) -> Any:
        return function(*arguments)

    call.__wrapped__ = function  # type: ignore[attr-defined] # as functools.wraps does
    return call


def filled(definition: Any, name: str) -> Any:
    """A step as the machine sees it."""
    program, values = program_of(definition)
    return values[program.by_name[name].index]


@dataclass
class Data:
    log: list[str] = field(default_factory=list)
    receipt: str = ""

    def refund(self, receipt: str) -> None:
        self.log.append(f"refunded {receipt}")

    def keep(self, receipt: str) -> None:
        self.receipt = f"kept {receipt}"

    @step(into="receipt", retry=TWICE, compensate=refund)
    def charge(self) -> str:
        self.log.append("charged")
        return "r1"

    @step(into=keep, compensate="refund", concurrent=True, timeout=HOUR)
    async def pay(self) -> str:
        return "r2"

    @step(retry=ONCE)
    def fail(self) -> None:
        raise ValueError("no")

    @step(into="receipt", compensate="refund")
    @staticmethod
    def given() -> str:
        return "r3"

    @staticmethod
    @step(into="receipt")
    def also_given() -> str:
        return "r4"

    @step(into="receipt")
    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    @noisy
    @step(into="receipt", compensate="refund")
    def wrapped(self) -> str:
        return "r5"

    @shy
    @step(into="receipt", compensate=refund)
    def hidden(self) -> str:
        return "r6"

    @step(into="receipt", compensate="refund")
    def of(self, number: int) -> str:
        return f"r{number}"


def ended(cls: type[Any]) -> Harness[Any]:
    harness = Harness(cls(), round_trip=True)
    harness.run()
    return harness


@dataclass
class Bound(Data):
    def definition(self) -> Statement:
        return S(Step("charge", self.charge), Step("fail", self.fail))


@dataclass
class ClassStyle(Data):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(Step("charge", cls.charge), Step("fail", cls.fail))


@pytest.mark.parametrize("cls", [Bound, ClassStyle])
def test_a_method_brings_its_options_to_every_step_that_names_it(cls):
    harness = ended(cls)
    assert harness.status == "Failed"
    assert harness.workflow.log == ["charged", "refunded r1"]
    assert harness.workflow.receipt == "r1"


def test_the_function_itself_stays_what_it_was():
    data = Data()
    assert data.charge() == "r1"
    assert (Data.charge.__name__, data.log) == ("charge", ["charged"])
    assert asyncio.run(data.pay()) == "r2"
    assert (data.given(), Data.given(), Data.also_given(), Data.of_class()) == ("r3", "r3", "r4", "Data")


def one(action: Callable[[Any], Callable[..., Any]], **options: Any) -> Any:
    """An object of a workflow with one step in instance style."""

    @dataclass
    class One(Data):
        def definition(self) -> Statement:
            return Step("one", action(self), **options)

    return One()


@pytest.mark.parametrize(
    ("name", "action", "receipt", "undoes"),
    [
        ("a bound method", lambda w: w.charge, "r1", True),
        ("a static method, options outside", lambda w: w.given, "r3", True),
        ("a static method, options inside", lambda w: w.also_given, "r4", False),
        ("a class method", lambda w: w.of_class, "One", False),
        ("a decorated one", lambda w: w.wrapped, "r5", True),
        ("one in a decorator that is shy", lambda w: w.hidden, "r6", True),
        ("a partial of one", lambda w: partial(w.of, 7), "r7", True),
        ("a partial of a partial", lambda w: partial(partial(w.of), 8), "r8", True),
        ("a decorated partial", lambda w: noisy(partial(w.of, 9)), "r9", True),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_options_are_found_however_the_action_is_named(name, action, receipt, undoes):
    workflow = one(action)
    assert filled(workflow, "one").into == "receipt"
    state = State.new("run", "One", START)
    assert resume(workflow, state, now=START) == "Finished"
    assert workflow.receipt == receipt
    compensate = filled(workflow, "one").compensate
    assert (compensate is not None) is undoes
    if undoes:
        compensate("x")
        assert workflow.log[-1] == "refunded x"


def test_a_plain_function_has_options_in_class_style():
    def undo(work: Any, result: str) -> None:
        work.log.append(f"undone {result}")

    @step(into="receipt", compensate=undo)
    def act(work: Any) -> str:
        return "r1"

    @dataclass
    class Work(Data):
        @classmethod
        def definition(cls) -> Statement[Self]:
            return S(Step("act", act), Step("fail", cls.fail))

    assert ended(Work).workflow.log == ["undone r1"]


def test_a_function_of_elsewhere_is_not_bound():
    undone: list[str] = []

    @dataclass
    class Work(Data):
        @step(compensate=undone.append)
        def act(self) -> str:
            return "r1"

        @step(compensate=partial(undone.append))
        def also(self) -> str:
            return "r2"

        def definition(self) -> Statement:
            return S(Step("act", self.act), Step("also", self.also), Step("fail", self.fail))

    ended(Work)
    assert undone == ["r2", "r1"]


def test_static_and_class_methods_above_can_undo_and_take_results():
    log = []

    @dataclass
    class Work(Data):
        @staticmethod
        def undo(result: str) -> None:
            log.append(result)

        @classmethod
        def undo_of(cls, result: str) -> None:
            log.append(f"{cls.__name__} {result}")

        @step(compensate=undo)
        def act(self) -> str:
            return "r1"

        @step(compensate=undo_of)
        def also(self) -> str:
            return "r2"

        @step(compensate=undo)
        @staticmethod
        def third() -> str:
            return "r3"

        def definition(self) -> Statement:
            return S(Step("act", self.act), Step("also", self.also), Step("third", self.third), Step("fail", self.fail))

    ended(Work)
    assert log == ["r3", "Work r2", "r1"]


def test_the_method_of_another_object_is_undone_by_that():
    class Bank:
        def __init__(self) -> None:
            self.log: list[str] = []

        @step(into="receipt", compensate="refund")
        def charge(self) -> str:
            return "r1"

        def refund(self, receipt: str) -> None:
            self.log.append(f"refunded {receipt}")

    bank = Bank()

    @dataclass
    class Work(Data):
        def definition(self) -> Statement:
            return S(Step("charge", bank.charge), Step("fail", self.fail))

    assert ended(Work).workflow.log == []
    assert bank.log == ["refunded r1"]


def test_what_is_given_in_the_tree_wins():
    def other(result: str) -> None: ...

    never = Retry(max_attempts=1)
    found = filled(
        one(lambda w: w.pay, into="log", retry=never, timeout=2 * HOUR, compensate=other, concurrent=False, inline=True), "one"
    )
    assert found.inline is True
    assert (found.into, found.retry, found.timeout, found.compensate, found.concurrent) == (
        "log",
        never,
        2 * HOUR,
        other,
        False,
    )
    workflow = one(lambda w: w.pay)
    found = filled(workflow, "one")
    assert (found.timeout, found.concurrent, found.retry) == (HOUR, True, None)
    assert (found.into, found.compensate) == (workflow.keep, workflow.refund)
    assert program_of(workflow)[0].by_name["one"].concurrent


def test_a_method_that_a_subclass_overrides_has_the_options_of_its_own():
    @dataclass
    class Sub(Bound):
        def charge(self) -> str:
            return "mine"

    assert filled(Sub(), "charge").into is None
    assert filled(Bound(), "charge").into == "receipt"


def test_what_undoes_is_the_method_of_the_subclass_if_it_is_named():
    @dataclass
    class Sub(Data):
        def refund(self, receipt: str) -> None:
            self.log.append("my refund")

        def definition(self) -> Statement:
            return S(Step("given", self.given), Step("fail", self.fail))

    assert ended(Sub).workflow.log == ["my refund"]


def test_the_same_step_object_in_two_definitions_keeps_what_it_was_given():
    shared: Step[Any, Any, Any] = Step("charge", Data.charge)

    @dataclass
    class Work(Data):
        @classmethod
        def definition(cls) -> Statement[Self]:
            return shared

    assert ended(Work).workflow.receipt == "r1"
    assert (shared.into, shared.retry, shared.compensate) == (None, None, None)


def test_options_are_bound_anew_to_the_copy_that_a_concurrent_action_reads():
    @dataclass
    class Work(Data):
        async def work(self) -> str:
            return "r1"

        act = step(into="receipt", concurrent=True)(work)

        def definition(self) -> Statement:
            return S(Step("act", self.act), Step("pay", self.pay))

    work, state = Work(), State.new("run", "Work", START)
    assert asyncio.run(resume_async(work, state, now=START, concurrency=2)) == "Finished"
    assert work.receipt == "kept r2"
    again, _ = load(Work, dump(work, state))
    assert again == work


def test_items_of_loops_are_handed_on():
    @dataclass
    class Work(Data):
        def keep_of(self, result: str, item: int) -> None:
            self.log.append(f"{result} of {item}")

        def undo_of(self, result: str, item: int) -> None:
            self.log.append(f"un{result} of {item}")

        @step(into=keep_of, compensate=undo_of)
        def each(self, item: int) -> str:
            return "done"

        def definition(self) -> Statement:
            return S(ForEach("items", [1, 2], Step("each", self.each)), Step("fail", self.fail))

    assert ended(Work).workflow.log == ["done of 1", "done of 2", "undone of 2", "undone of 1"]


def faults(action: Callable[[Any], Callable[..., Any]]) -> tuple[str, ...]:
    with pytest.raises(DefinitionError) as raised:
        validate(one(action))
    return raised.value.faults


def test_faults_are_told_with_the_place_of_the_step_and_where_they_come_from():
    class Wrong(Data):
        @step(into="reciept", retry=3, concurrent="yes", compensate="refnd")  # type: ignore[arg-type]
        def charge(self) -> str:
            return ""

        @step(compensate=7)  # type: ignore[arg-type]
        def pay(self) -> str:  # type: ignore[override]
            return ""

    wrong = Wrong()
    hint = "(see @step of test_faults_are_told_with_the_place_of_the_step_and_where_they_come_from.<locals>.Wrong"
    assert faults(lambda w: wrong.charge) == (
        f"Step 'one': into: no field 'reciept'; did you mean 'receipt'? {hint}.charge)",
        f"Step 'one': concurrent must be True or False, not 'yes' {hint}.charge)",
        f"Step 'one': retry must be a Retry, not 3 {hint}.charge)",
        f"Step 'one': compensate: a Wrong has no method 'refnd'; did you mean 'refund'? {hint}.charge)",
    )
    assert faults(lambda w: wrong.pay) == (f"Step 'one': compensate must be a callable, not 7 {hint}.pay)",)


def test_a_mere_tree_is_valid_without_the_class_that_undoes():
    validate(Step("given", Data.given))
    with pytest.raises(DefinitionError, match="Step 'charge': compensate: a Bound has no method 'refnd'"):
        validate(Step("charge", step(compensate="refnd")(lambda: None).__get__(Bound())))


def test_what_can_not_keep_options_is_told_at_once():
    with pytest.raises(DefinitionError, match="@step can't keep its options on <built-in function print>"):
        step(into="receipt")(print)


def test_an_action_without_options_has_none():
    assert options_of(Data.refund) is None
    assert options_of(partial(partial(print))) is None
    assert options_of(None) is None


@step(transactional=True)
def book() -> None: ...


@step(inline=True)
def count() -> None: ...


@pytest.mark.parametrize(
    ("action", "given", "transactional", "inline"),
    [
        (book, {}, True, None),
        (book, {"transactional": False, "inline": True}, False, True),
        (count, {}, None, True),
        (count, {"transactional": True, "inline": False}, True, False),
        (print, {}, None, None),
    ],
)
def test_transactional_and_inline_stand_with_the_action_or_in_the_tree(action, given, transactional, inline):
    program, values = program_of(Step("one", action, **given))
    node, statement = program.by_name["one"], values[0]
    assert (statement.transactional, statement.inline) == (transactional, inline)
    assert (node.transactional, node.inline) == (transactional is True, inline is True)


async def later() -> None: ...


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"action": later}, "it is transactional, but action later is async"),
        ({"compensate": later}, "it is transactional, but compensate later is async"),
        ({"concurrent": True}, "it is transactional and concurrent"),
        ({"inline": True}, "it is transactional and inline"),
        ({"timeout": HOUR}, "it is transactional and has a timeout"),
        ({"transactional": "yes"}, "transactional must be True or False, not 'yes'"),
        ({"transactional": None, "inline": 1}, "inline must be True or False, not 1"),
    ],
)
def test_transactions_that_could_not_be_are_faults(options, fault):
    given: dict[str, Any] = {"action": print, "transactional": True, **options}
    with pytest.raises(DefinitionError) as caught:
        validate(Step("one", **given))
    assert [found.partition(": ")[2][: len(fault)] for found in caught.value.faults] == [fault]
