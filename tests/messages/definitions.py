"""What can be wrong with a definition, found before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

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
    Step,
    Switch,
    Timeout,
    Wait,
    WaitFor,
    find,
    handle_callback,
    resume,
    validate,
)
from tests.messages.rows import Table

HOUR = timedelta(hours=1)

TREES = Table("Definitions: the tree")
CALLABLES = Table("Definitions: functions and what they take")
NAMES = Table("Definitions: names, and what they were before")
BUILDS = Table("Definitions: building them")
TABLES = [TREES, CALLABLES, NAMES, BUILDS]


def wrong(value: Any) -> Any:
    """A value of a wrong type, which the type checker shall let pass."""
    return value


class Client:
    """Something that is no statement, no handler and no JSON."""

    def __repr__(self) -> str:
        return "<Client of the shop>"


def charge() -> None: ...


def is_paid() -> bool:
    return True


def _tree(table: Table, title: str, tree: Any) -> None:
    table.add(title, lambda: validate(tree))


def nested(depth: int) -> Any:
    tree: Any = Step("charge", charge)
    for _ in range(depth):
        tree = S(tree)
    return tree


for _title, _wrong in {
    "a list between statements": S(Step("charge", charge), wrong([Step("ship", charge)])),
    "a class between statements": For("retry", Step("charge", charge), wrong(Break)),
    "something else between statements": S(Step("charge", charge), wrong(None)),
    "something else as the first statement": If("paid", is_paid, wrong("ship")),
    "too many levels": nested(100),
    "a case outside of a Switch": S(Case("paid", is_paid)),
    "an event outside of a Wait": S(On("paid")),
    "a step in a Switch": Switch(wrong(Step("charge", charge))),
    "a step in a Wait": Wait("payment", wrong(Step("charge", charge))),
    "a loop without a stop": For("retry", If("paid", is_paid, Break())),
    "a Switch without cases": Switch(),
    "a Default that is not last": Switch(Default(), Case("paid", is_paid)),
    "a Wait without events": Wait("payment"),
    "a Join of nothing": Join("all shipped"),
    "a Join of an unknown Go": S(Go("ship", Step("charge", charge)), Join("all shipped", "shipp")),
    "a Join of a Go that has another name now": S(Go("deliver", was=("ship",)), Join("all shipped", "ship")),
    "a Join of its own thread": Go("ship", Join("all shipped", "ship")),
    "a Break outside of a loop": S(Step("charge", charge), Break()),
    "a Break out of a thread": For("orders", Step("charge", charge), Go("ship", Break())),
    "a condition that was left out": If("paid", Step("ship", charge)),
    "items that were left out": ForEach("lines", Step("ship", charge)),
    "a duration that is none": Sleep("pause", wrong(5)),
    "an instant without a time zone": Wait("payment", Timeout("late", datetime(2026, 6, 1))),
    "a schema that is none": Wait("payment", On("paid", schema=wrong("int"))),
    "a via that is none": Wait("payment", On("paid", via=Client())),
    "a flag that is none": Step("charge", charge, concurrent=wrong("yes")),
    "several faults": S(Step("charge", charge), Step("charge", wrong(None)), Break()),
}.items():
    _tree(TREES, _title, _wrong)


@dataclass
class Line:
    sku: str = ""


@dataclass
class Parcel:
    sku: str = ""


@dataclass
class Order:
    """Its definition is whatever a row says."""

    paid: int = 0

    def definition(self) -> Any: ...
    def charge(self) -> None: ...
    def charge_by(self, how: Any) -> None: ...
    def charge_by_key(self, *, key: str) -> None: ...
    def is_big(self, at_least: int) -> bool: ...  # type: ignore[empty-body] # never called
    def pack(self, line: Line) -> None: ...
    def send(self, parcel: Parcel) -> None: ...
    def pack_what(self, line: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821 wrong on purpose
    def take(self, payment: Payment) -> None: ...  # type: ignore[name-defined] # noqa: F821 wrong on purpose
    async def charge_later(self) -> None: ...
    async def keep_later(self, value: int) -> None: ...
    def charges(self) -> Any:
        yield 1


def of_object(tree: Callable[[Any], Any]) -> Any:
    """A workflow object in instance style."""
    kind: Any = type("Order", (Order,), {"definition": tree, "__qualname__": "Order"})
    return dataclass(kind)()


def of_class(tree: Callable[[Any], Any]) -> Any:
    """A workflow class in class style."""
    kind = type("Order", (Order,), {"definition": classmethod(tree), "__qualname__": "Order"})
    return dataclass(kind)


class BothInOne:
    def handle(self, request: Any, payload: Any) -> None: ...

    def teardown(self, request: Any, handled: bool) -> None: ...

    def __repr__(self) -> str:
        return "<BothInOne>"


class NoMethods:
    handle = setup = 5

    def __repr__(self) -> str:
        return "<NoMethods>"


class HandleIsNoMethod:
    handle = None

    def __repr__(self) -> str:
        return "<HandleIsNoMethod>"


for _title, _made in dict[str, Callable[[Any], Any]](
    {
        "an action that was called": lambda w: Step("charge", wrong(w.charge())),
        "an async action that was called": lambda w: Step("charge", wrong(w.charge_later())),
        "an action that is none": lambda w: Step("charge", wrong("charge")),
        "a handler of a WaitFor that is none": lambda w: WaitFor("paid", is_paid, wrong("charge")),
        "an action that is a generator": lambda w: Step("charge", w.charges),
        "an action that takes too much": lambda w: Step("charge", w.charge_by),
        "an action that takes too much, inside a loop over items": lambda w: ForEach(
            "lines", [], Step("pack", lambda line, box, tape: None)
        ),
        "a condition that takes too much": lambda w: If("big", w.is_big),
        "a handler that takes too much": lambda w: Wait("payment", On("paid", lambda payment, who, when=None: None)),
        "a setter that takes nothing": lambda w: Step("charge", w.charge, into=w.charge),
        "an argument that nobody gives": lambda w: Step("charge", w.charge_by_key),
        "two types for one item": lambda w: ForEach("lines", [], Step("pack", w.pack), Step("send", w.send)),
        "an annotation of an item that can't be resolved": lambda w: ForEach("lines", [], Step("pack", w.pack_what)),
        "an annotation of a payload that can't be resolved": lambda w: Wait("payment", On("paid", w.take)),
        "a misspelt field": lambda w: Step("charge", w.charge, into="piad"),
        "a setter that is async": lambda w: Step("charge", w.charge, into=w.keep_later),
        "a setter that is none": lambda w: Step("charge", w.charge, into=wrong(5)),
        "a handler that is none": lambda w: Wait("payment", On("paid", "take")),
        "a handle that is no method": lambda w: Wait("payment", On("paid", HandleIsNoMethod())),
        "a setup that is no method": lambda w: Wait("payment", On("paid", w.charge, via=NoMethods())),
        "a via beside a handler that is one": lambda w: Wait("payment", On("paid", BothInOne(), via=BothInOne())),
    }
).items():
    CALLABLES.add(_title, lambda made=_made: validate(of_object(made)))


@CALLABLES.row
def an_action_of_a_class_style_definition_that_takes_nothing() -> None:
    validate(of_class(lambda c: Step("charge", charge)))


@CALLABLES.row
def a_plain_condition_in_a_class_style_definition() -> None:
    validate(of_class(lambda c: If("paid", c.paid)))


@CALLABLES.row
def async_functions_for_a_sync_driver() -> None:
    order = of_object(lambda w: S(Step("charge", w.charge_later), Wait("payment", On("paid", w.keep_later))))
    resume(order, State.new("order-1", "Order"))


for _title, _wrong in {
    "a name that is taken": S(Step("charge", charge), If("paid", is_paid, Step("charge", charge))),
    "a name that is no text": S(Step(wrong(7), charge)),
    "a name with a slash": Step("charge/card", charge),
    "a name that is reserved": Go("main", Step("charge", charge)),
    "a name that can't be written": Step("charge\ud800", charge),
    "an event that stands twice": Wait("payment", On("paid"), On("paid")),
    "old names that are no tuple": Step("charge", charge, was=wrong("pay")),
    "an old name that is no text": Step("charge", charge, was=wrong((7,))),
    "an old name that can't have been one": Step("charge", charge, was=("pay:1",)),
    "an old name that is reserved": Step("charge", charge, was=("main",)),
    "an old name that is the present one": Step("charge", charge, was=("charge",)),
    "an old name that somebody else has now": S(Step("charge", charge, was=("ship",)), Step("ship", charge)),
    "an old name of two": S(Step("charge", charge, was=("pay",)), Step("ship", charge, was=("pay",))),
}.items():
    _tree(NAMES, _title, _wrong)


@BUILDS.row
def a_definition_that_returns_nothing() -> None:
    validate(of_object(lambda w: None))


@BUILDS.row
def a_definition_that_returns_a_list() -> None:
    validate(of_object(lambda w: [Step("charge", w.charge)]))


@BUILDS.row
def a_definition_that_raises() -> None:
    resume(of_object(lambda w: w.lines[0]), State.new("order-1", "Order"))


@BUILDS.row
def a_model_without_a_definition() -> None:
    resume(Line("tea"), State.new("order-1", "Order"))


@BUILDS.row
def a_definition_that_is_async() -> None:
    @dataclass
    class Later:
        async def definition(self) -> Any: ...

    resume(Later(), State.new("order-1", "Later"))


@BUILDS.row
def a_definition_that_changes_its_shape() -> None:
    @dataclass
    class Shapeless:
        paid: bool = False

        def definition(self) -> Any:
            return S(Step("charge", self.charge), Return()) if not self.paid else S(Step("charge", self.charge))

        def charge(self) -> None:
            self.paid = True

    resume(Shapeless(), State.new("order-1", "Shapeless"))


@BUILDS.row
def a_name_that_changes() -> None:
    @dataclass
    class Renaming:
        count: int = 0

        def definition(self) -> Any:
            return Step(f"charge {self.count}", self.charge)

        def charge(self) -> None:
            self.count += 1

    resume(Renaming(), State.new("order-1", "Renaming"))


@BUILDS.row
def a_child_that_is_no_statement_any_more() -> None:
    @dataclass
    class Fading:
        paid: bool = False

        def definition(self) -> Any:
            return S(wrong(None) if self.paid else Step("charge", self.charge))

        def charge(self) -> None:
            self.paid = True

    resume(Fading(), State.new("order-1", "Fading"))


@BUILDS.row
def a_class_for_an_object() -> None:
    resume(Order, State.new("order-1", "Order"))


@BUILDS.row
def an_object_without_a_definition() -> None:
    resume({"paid": 1}, State.new("order-1", "Order"))


@BUILDS.row
def an_object_without_fields() -> None:
    class Plain:
        def definition(self) -> Any: ...

    resume(Plain(), State.new("order-1", "Plain"))


@BUILDS.row
def a_class_without_fields() -> None:
    class Plain:
        @classmethod
        def definition(cls) -> Any: ...

    validate(Plain)


@BUILDS.row
def a_field_that_is_none() -> None:
    class BigOrder(Order):
        discount: int = 0

    validate(BigOrder())


@BUILDS.row
def something_else_to_validate() -> None:
    validate("Order")


@BUILDS.row
def a_class_to_validate_whose_definition_needs_an_object() -> None:
    validate(Order)


@BUILDS.row
def a_tree_that_is_none() -> None:
    find(wrong(Order), "charge")


@BUILDS.row
def a_payload_of_a_class_that_can_not_be_used() -> None:
    def take(client: Client) -> None: ...

    order, state = of_object(lambda w: Wait("payment", On("paid", take))), State.new("order-1", "Order")
    resume(order, state)
    handle_callback("paid", order, state, b"5")


@BUILDS.row
def a_loop_that_makes_no_progress() -> None:
    @dataclass
    class Spinning:
        paid: bool = False

        def definition(self) -> Any:
            return For("retry", If("paid", self.paid, Step("ship", charge)))

    resume(Spinning(), State.new("order-1", "Spinning"))


@BUILDS.row
def two_threads_with_one_id() -> None:
    tree = S(ForEach("lines", ["tea", "milk"], Go("ship", Wait("parcel", On("fetched")))))
    resume(of_object(lambda w: tree), State.new("order-1", "Order"))


@BUILDS.row
def an_arg_that_was_none_before() -> None:
    @dataclass
    class Shipping:
        parcel: str | None = None

        def definition(self) -> Any:
            return S(Step("pack", lambda: "tea", into="parcel"), Go("ship", arg=self.parcel))

    resume(Shipping(), State.new("order-1", "Shipping"))
