"""Both styles of ``definition``, with every kind of class and every kind of callable, mean the same."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Self

import pydantic.dataclasses
import pytest
from pydantic import BaseModel, Field

from flowstmt import (
    Break,
    Case,
    Default,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Sleep,
    State,
    Statement,
    Step,
    StepError,
    Switch,
    Timeout,
    Wait,
    WaitFor,
    dump,
    handle_callback,
    handle_callback_async,
    load,
    resume,
    resume_async,
    validate,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Line:
    sku: str
    amount: int = 1


class ByObject:
    """The natural way: bound methods, plain values and closures."""

    def definition(self: Any) -> Statement:
        start = len(self.log)  # a local, computed anew at each build
        return S(
            Step("begin", self.begin, into="total"),
            Step("set", self.begin, into=self.add),
            Switch(Case("none", not self.lines, Step("never", self.begin)), Default(Step("some", lambda: self.note("some")))),
            If("paid", self.paid, Step("no", self.begin)).else_if("unpaid", lambda: not self.paid, Step("yes", self.yes)),
            ForEach(
                "each",
                self.lines,
                Step("item", self.item),
                If("big", lambda line: line.amount > 1, Step("big item", self.item)),
                Go("side", Step("in side", self.item), id=lambda line: line.sku),
                Go("own", Step("in own", self.item), id=self.sku, arg=lambda line: Line(line.sku, 9)),
            ),
            Join("sides", "side", "own"),
            For("rounds", self.rounds < 2, Step("round", self.round)),
            For("ever", Step("once", self.round), Break()),
            Sleep("pause", self.pause),
            Wait(
                "payment",
                On("paid", self.pay, Step("thank", lambda: self.note("thanks")), into="paid"),
                On("kept", into=self.add),
                Timeout("late", timedelta(days=1)),
            ),
            WaitFor("ready", lambda: self.paid, self.ready),
            Return(lambda: [self.total, start > 0]),
        )


class ByClass:
    """The fast way: everything takes the workflow first."""

    @classmethod
    def definition(cls: Any) -> Statement:
        return S(
            Step("begin", cls.begin, into="total"),
            Step("set", cls.begin, into=cls.add),
            Switch(
                Case("none", lambda w: not w.lines, Step("never", cls.begin)), Default(Step("some", lambda w: w.note("some")))
            ),
            If("paid", lambda w: w.paid, Step("no", cls.begin)).else_if("unpaid", cls.unpaid, Step("yes", cls.yes)),
            ForEach(
                "each",
                lambda w: w.lines,
                Step("item", cls.item),
                If("big", lambda w, line: line.amount > 1, Step("big item", cls.item)),
                Go("side", Step("in side", cls.item), id=lambda w, line: line.sku),
                Go("own", Step("in own", cls.item), id=cls.sku, arg=lambda w, line: Line(line.sku, 9)),
            ),
            Join("sides", "side", "own"),
            For("rounds", lambda w: w.rounds < 2, Step("round", cls.round)),
            For("ever", Step("once", cls.round), Break()),
            Sleep("pause", cls.pause),
            Wait(
                "payment",
                On("paid", cls.pay, Step("thank", lambda w: w.note("thanks")), into="paid"),
                On("kept", into=cls.add),
                Timeout("late", lambda w: timedelta(days=1)),
            ),
            WaitFor("ready", lambda w: w.paid, cls.ready),
            Return(lambda w: [w.total, len(w.log) > 0]),
        )


class ByStatic:
    """A static method is class style as well."""

    @staticmethod
    def definition() -> Statement:
        return ByClass.definition.__func__(Shared)  # type: ignore[attr-defined] # the same tree, of the shared functions


class Shared:
    """What all workflows below do."""

    def note(self: Any, word: str) -> None:
        self.log.append(word)

    def begin(self: Any) -> int:
        self.note("begin")
        return 1

    def add(self: Any, value: int) -> None:
        self.total += value

    def unpaid(self: Any) -> bool:
        return not self.paid

    def yes(self: Any) -> None:
        self.note("yes")

    def item(self: Any, line: Line) -> None:
        assert type(line) is Line
        self.note(f"{line.sku}{line.amount}")

    def sku(self: Any, line: Line) -> str:
        return line.sku

    def round(self: Any) -> None:
        self.rounds += 1

    def pause(self: Any) -> timedelta:
        return timedelta(hours=self.total)

    def pay(self: Any, payload: bool) -> str:
        self.note(f"pay {payload}")
        return "receipt"

    def ready(self: Any) -> None:
        self.note("ready")


def workflow(style: type[Any], kind: str) -> Any:
    """A class of one kind whose definition is in one style."""
    annotations = {"lines": list[Line], "log": list[str], "paid": bool, "total": int, "rounds": int}
    values: dict[str, Any] = {"paid": False, "total": 0, "rounds": 0}
    if kind == "model":
        models = {"lines": pydantic.Field(default_factory=list), "log": pydantic.Field(default_factory=list), **values}
        return type("Order", (BaseModel, style, Shared), {"__annotations__": annotations, "__module__": __name__, **models})
    values |= {"lines": field(default_factory=list), "log": field(default_factory=list)}
    plain = type("Order", (style, Shared), {"__annotations__": annotations, "__module__": __name__, **values})
    if kind == "pydantic dataclass":
        return pydantic.dataclasses.dataclass(plain)
    return dataclass(slots=kind == "slots")(plain)


STYLES = {"object": ByObject, "class": ByClass, "static": ByStatic}
KINDS = ["plain", "slots", "model", "pydantic dataclass"]
TRACE = ["begin", "begin", "some", "yes", "a1", "a1", "a9", "b2", "b2", "b2", "b9", "pay True", "thanks", "ready"]


@pytest.mark.parametrize("driver", ["sync", "async"])
@pytest.mark.parametrize("trips", [False, True], ids=["direct", "reloaded"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("style", STYLES)
def test_every_style_and_kind_of_class_means_the_same(style: str, kind: str, trips: bool, driver: str) -> None:
    cls = workflow(STYLES[style], kind)
    order: Any = cls(lines=[Line("a"), Line("b", 2)])
    state = State.new("run-1", "Order", NOW)
    validate(order)

    def go(now: datetime, event: str = "", payload: Any = None) -> Any:
        nonlocal order, state
        if trips:
            order, state = load(cls, dump(order, state))
        if driver == "sync":
            output = handle_callback(event, order, state, payload, now=now) if event else None
            while resume(order, state, now=now, max_steps=1) == "Resuming":
                if trips:
                    order, state = load(cls, dump(order, state))
            return output

        async def main() -> Any:
            output = await handle_callback_async(event, order, state, payload, now=now) if event else None
            await resume_async(order, state, now=now)
            return output

        return asyncio.run(main())

    go(NOW)
    assert (state.status, state.threads[0].position) == ("Waiting", "pause")
    assert state.wake_at == NOW + timedelta(hours=2)
    go(NOW + timedelta(hours=2))
    assert state.threads[0].position == "payment"
    assert go(NOW + timedelta(hours=3), "paid", b"true") == "receipt"
    assert state.status == "Finished"
    assert sorted(order.log[4:11]) == sorted(TRACE[4:11])
    assert order.log[:4] + order.log[11:] == TRACE[:4] + TRACE[11:]
    assert state.result == [2, True]
    assert order.rounds == 3


def test_every_style_and_kind_of_class_leaves_the_same_snapshots() -> None:
    """Data and state, byte for byte, at every checkpoint."""
    traces = set()
    for style in STYLES.values():
        for kind in KINDS:
            order: Any = workflow(style, kind)(lines=[Line("a"), Line("b", 2)])
            state = State.new("run-1", "Order", NOW)
            trace: list[Any] = []
            save = functools.partial(
                lambda trace, order, state, kind: trace.append((kind, dump(order, state))), trace, order, state
            )
            resume(order, state, save, now=NOW)
            resume(order, state, save, now=NOW + timedelta(hours=2))
            handle_callback("kept", order, state, 5, now=NOW)
            resume(order, state, save, now=NOW)
            traces.add(json.dumps([(kind, json.loads(blob)["data"], json.loads(blob)["state"]) for kind, blob in trace]))
    assert len(traces) == 1


# --- every kind of callable ---


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*arguments: Any, **named: Any) -> Any:
        return function(*arguments, **named)

    return wrapper


class Callable_:  # noqa: N801 the word is taken
    """An object with ``__call__``; its item comes last."""

    def __init__(self, log: list[Any], word: str) -> None:
        self.log = log
        self.word = word

    def __call__(self, line: Line) -> None:
        assert type(line) is Line
        self.log.append(f"{self.word} {line.sku}")


class CallableOfWorkflow:
    def __call__(self, workflow: Any, line: Line) -> None:
        assert type(line) is Line
        workflow.log.append(f"object {line.sku}")


class AsyncCallable:
    async def __call__(self) -> None: ...


def with_log(log: list[Any], word: str, line: Line) -> None:
    assert type(line) is Line
    log.append(f"{word} {line.sku}")


def of_workflow(word: str, workflow: Any, line: Line) -> None:
    assert type(line) is Line
    workflow.log.append(f"{word} {line.sku}")


CALLABLES: dict[str, Callable[[Any], Any]] = {
    "method": lambda w: w.method,
    "decorated method": lambda w: w.decorated_method,
    "lambda": lambda w: lambda line: w.log.append(f"lambda {line['sku'] if isinstance(line, dict) else line.sku}"),
    "partial": lambda w: functools.partial(with_log, w.log, "partial"),
    "partial by name": lambda w: (
        functools.partial(with_log, word="partial", log=w.log) if False else functools.partial(w.method)
    ),
    "partial method": lambda w: w.partial_method,
    "object": lambda w: Callable_(w.log, "object"),
    "method of another object": lambda w: Callable_(w.log, "other").__call__,
    "builtin": lambda w: w.log.append,
    "static method": lambda w: functools.partial(w.static_method, w.log),
    "nested partial": lambda w: functools.partial(functools.partial(with_log, w.log), "nested"),
    "takes more if given": lambda w: lambda line, more=1: w.log.append("more"),
}


@dataclass
class Many:
    make: Any = field(default=None, metadata={"transient": True})
    log: list[Any] = field(default_factory=list)
    lines: list[Line] = field(default_factory=lambda: [Line("a")])

    def definition(self) -> Statement:
        return ForEach(
            "each", self.lines, Step("typed", lambda line: None), Step("act", self.make(self)), Step("note", self.typed)
        )

    def typed(self, line: Line) -> None: ...

    def method(self, line: Line) -> None:
        assert type(line) is Line
        self.log.append(f"method {line.sku}")

    @decorated
    def decorated_method(self, line: Line) -> None:
        assert type(line) is Line
        self.log.append(f"decorated {line.sku}")

    partial_method = functools.partialmethod(method)

    @staticmethod
    def static_method(log: list[Any], line: Line) -> None:
        log.append(f"static {line.sku}")


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in CALLABLES.items()])
def test_every_kind_of_callable_is_an_action_that_gets_its_item(make: Any) -> None:
    cls: Any = dataclass(type("Many", (Many,), {"__module__": __name__}))
    many, state = cls(make), State.new("r", "Many")
    resume(many, state)
    assert len(many.log) == 1
    assert "a" in str(many.log[0]) or many.log == ["more"]


CLASS_CALLABLES: dict[str, Callable[[Any], Any]] = {
    "function": lambda cls: cls.method,
    "decorated function": lambda cls: cls.decorated_method,
    "lambda": lambda cls: lambda w, line: w.log.append(f"lambda {line.sku}"),
    "partial": lambda cls: functools.partial(of_workflow, "partial"),
    "object": lambda cls: CallableOfWorkflow(),
    "static method": lambda cls: cls.static_method,
    "class method": lambda cls: cls.class_method,
}


@dataclass
class ManyByClass:
    make: ClassVar[Any] = None
    log: list[Any] = field(default_factory=list)
    lines: list[Line] = field(default_factory=lambda: [Line("a")])

    @classmethod
    def definition(cls) -> Statement[Self]:
        return ForEach("each", lambda w: w.lines, Step("act", cls.make(cls)), Step("note", cls.typed))

    def typed(self, line: Line) -> None: ...

    def method(self, line: Line) -> None:
        assert type(line) is Line
        self.log.append(f"method {line.sku}")

    @decorated
    def decorated_method(self, line: Line) -> None:
        assert type(line) is Line
        self.log.append(f"decorated {line.sku}")

    @staticmethod
    def static_method(workflow: Any, line: Line) -> None:
        workflow.log.append(f"static {line.sku}")

    @classmethod
    def class_method(cls, workflow: Any, line: Line) -> None:
        workflow.log.append(f"class {line.sku}")


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in CLASS_CALLABLES.items()])
def test_every_kind_of_callable_is_a_class_style_action_that_gets_its_item(make: Any) -> None:
    cls: Any = dataclass(type("Many", (ManyByClass,), {"__module__": __name__, "make": staticmethod(make)}))
    many, state = cls(), State.new("r", "Many")
    resume(many, state)
    assert len(many.log) == 1
    assert many.log[0].endswith(" a")


@pytest.mark.parametrize("make", [lambda w: AsyncCallable(), lambda w: AsyncCallable().__call__])
def test_an_async_callable_object_is_known_before_anything_runs(make: Any) -> None:
    from flowstmt import DefinitionError

    @dataclass
    class Later:
        log: list[str] = field(default_factory=list)

        def definition(self) -> Statement:
            return S(Step("first", lambda: self.log.append("ran")), Step("later", make(self)))

    later, state = Later(), State.new("run-1", "Later")
    with pytest.raises(
        DefinitionError, match="needs resume_async and handle_callback_async:\n  - Step 'later': action is async"
    ) as caught:
        resume(later, state)
    assert len(caught.value.faults) == 1
    assert later.log == []
    asyncio.run(resume_async(later, state))
    assert later.log == ["ran"]


def test_closures_of_one_factory_may_annotate_their_items_differently() -> None:
    """They share their code object, by which what they take is cached."""

    @dataclass
    class Other:
        sku: str

    def factory(wanted: Any) -> Callable[..., Any]:
        def act(item: wanted) -> None:
            seen.append(type(item).__name__)

        act.__annotations__["item"] = wanted
        return act

    seen: list[str] = []

    @dataclass
    class Two:
        def definition(self) -> Statement:
            return S(
                ForEach("a", [{"sku": "x"}], Step("as line", factory(Line))),
                ForEach("b", [{"sku": "x"}], Step("as other", factory(Other))),
                ForEach("c", [{"sku": "x"}], Step("as list", factory(dict[str, str]))),
            )

    resume(Two(), State.new("r", "Two"))
    assert seen == ["Line", "Other", "dict"]


def test_closures_of_one_factory_may_mean_different_things_by_one_annotation() -> None:
    """The text of their annotation is one and the same object, too."""

    @dataclass
    class Other:
        sku: str

    def factory(wanted: Any) -> Callable[..., Any]:
        def act(item: wanted) -> None:
            seen.append((type(item).__name__, wanted.__name__))

        return act

    seen: list[tuple[str, str]] = []

    @dataclass
    class Two:
        def definition(self) -> Statement:
            return S(
                ForEach("a", [{"sku": "x"}], Step("as line", factory(Line))),
                ForEach("b", [{"sku": "x"}], Step("as other", factory(Other))),
            )

    resume(Two(), State.new("r", "Two"))
    assert seen == [("Line", "Line"), ("Other", "Other")]


class TakesLine:
    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def __call__(self, line: Line) -> None:
        self.seen.append(line)

    def method(self, line: Line) -> None:
        self.seen.append(line)

    def last(self, word: str, line: Line) -> None:
        self.seen.append(line)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda takes: takes, id="object"),
        pytest.param(lambda takes: takes.method, id="method"),
        pytest.param(lambda takes: functools.partial(takes.last, "word"), id="partial"),
        pytest.param(functools.partial, id="partial of an object"),
        pytest.param(lambda takes: decorated(takes.method), id="decorated"),
    ],
)
def test_one_callable_of_any_kind_is_enough_to_tell_the_type_of_an_item(make: Any) -> None:
    seen: list[Any] = []

    @dataclass
    class One:
        def definition(self) -> Statement:
            return ForEach("a", [{"sku": "x"}], Step("act", make(TakesLine(seen))))

    resume(One(), State.new("r", "One"))
    assert seen == [Line("x")]


def test_two_parameters_of_one_function_are_two() -> None:
    def act(payload: Line, item: int) -> None:
        seen.append((payload, item))

    seen: list[Any] = []

    @dataclass
    class Two:
        def definition(self) -> Statement:
            return ForEach("a", [7], Wait("w", On("e", act)))

    two, state = Two(), State.new("r", "Two")
    resume(two, state)
    handle_callback("e", two, state, {"sku": "x"})
    assert seen == [(Line("x"), 7)]


def test_the_annotation_of_an_item_may_say_more_than_its_type() -> None:
    def act(n: Annotated[int, Field(gt=0)]) -> None: ...

    @dataclass
    class Positive:
        def definition(self) -> Statement:
            return ForEach("a", [0], Step("b", act))

    with pytest.raises(StepError, match=r"ForEach 'a': its item can't be kept: .*greater than 0"):
        resume(Positive(), State.new("r", "Positive"))


def test_a_workflow_object_is_not_kept_by_the_program_of_its_class() -> None:
    @dataclass
    class Instance:
        def definition(self) -> Statement:
            return Step("a", self.act)

        def act(self) -> None: ...

    first = Instance()
    gone = weakref.ref(first)
    resume(first, State.new("r", "Instance"))
    del first
    gc.collect()
    assert gone() is None
    assert resume(Instance(), State.new("r", "Instance")) == "Finished"


# --- subclasses ---


@dataclass
class Base:
    log: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(Step("a", self.act), self.more())

    def more(self) -> Statement:
        return S()

    def act(self) -> None:
        self.log.append("base")


@dataclass
class Overrides(Base):
    extra: int = 0

    def act(self) -> None:
        self.extra += 1
        super().act()


@dataclass
class Extends(Base):
    def more(self) -> Statement:
        return Step("b", self.act)


class Undecorated(Base):
    def act(self) -> None:
        self.log.append("undecorated")


@dataclass
class BaseByClass:
    log: list[str] = field(default_factory=list)

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(Step("a", cls.act), Step("late", lambda w: w.act()))

    def act(self) -> None:
        self.log.append("base")


@dataclass
class OverridesByClass(BaseByClass):
    def act(self) -> None:
        self.log.append("override")


@dataclass
class OtherStyle(BaseByClass):
    def definition(self) -> Statement:  # type: ignore[override] # another style
        return Step("only", self.act)


@pytest.mark.parametrize("backwards", [False, True])
def test_each_subclass_has_a_program_of_its_own(backwards: bool) -> None:
    expected = [
        (Base, ["base"]),
        (Overrides, ["base"]),
        (Extends, ["base", "base"]),
        (Undecorated, ["undecorated"]),
        (BaseByClass, ["base", "base"]),
        (OverridesByClass, ["override", "override"]),
        (OtherStyle, ["base"]),
    ]
    for cls, log in expected[:: -1 if backwards else 1]:
        order: Any = cls()
        assert resume(order, State.new("r", "x")) == "Finished"
        assert order.log == log


def test_a_generic_model_is_a_workflow() -> None:
    from typing import Generic, TypeVar

    T = TypeVar("T")

    class Box(BaseModel, Generic[T]):
        value: T
        seen: list[str] = []

        def definition(self) -> Statement:
            return Step("see", lambda: self.seen.append(repr(self.value)))

    for box, shown in ((Box[int](value=1), "1"), (Box[str](value="a"), "'a'")):
        state = State.new("r", "Box")
        loaded, again = load(type(box), dump(box, state))
        resume(loaded, again)
        assert loaded.seen == [shown]


def test_a_model_may_name_classes_of_the_function_that_defines_it() -> None:
    class Inner(BaseModel):
        at: datetime

    class Outer(BaseModel):
        inner: Inner | None = None

        def definition(self) -> Statement:
            return Wait("w", On("a", into="inner"))

    outer, state = Outer(), State.new("r", "Outer")
    resume(outer, state)
    handle_callback("a", outer, state, {"at": NOW})
    assert load(Outer, dump(outer, state))[0] == Outer(inner=Inner(at=NOW))


def test_validate_takes_a_class_in_class_style_an_object_or_a_tree() -> None:
    for thing in (
        BaseByClass,
        BaseByClass(),
        Base(),
        Base().definition(),
        workflow(ByStatic, "slots"),
        workflow(ByClass, "model"),
    ):
        validate(thing)
