"""What can be wrong with a snapshot: when it is made, when it is read, and when it meets its definition."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from flowstmt import ForEach, Go, Join, On, S, Sleep, Statement, Step, Wait, WaitFor, dump, load, resume
from tests.messages.definitions import HOUR, Client, wrong
from tests.messages.rows import Table
from tests.messages.runs import NOW, new

DATA = Table("Snapshots: data that can't be saved")
READING = Table("Snapshots: reading them")
VERSIONS = Table("Snapshots: data of another version of the class")
POSITIONS = Table("Snapshots: threads that stand where the definition has nothing")
TABLES = [DATA, READING, VERSIONS, POSITIONS]


@dataclass
class Line:
    sku: str
    count: int = 1


@dataclass
class SpecialLine(Line):
    gift: str = ""


@dataclass
class Order:
    sku: str = "tea"
    count: int = 1
    lines: list[Line] = field(default_factory=list)

    def definition(self) -> Statement:
        return Wait("payment", On("paid"))


class Nothing:
    def definition(self) -> Statement:
        return S()


def dumped(data: Any) -> None:
    dump(data, new())


# --- what can't be saved ---


@DATA.row
def no_state_to_dump() -> None:
    dump(Order(), wrong(None))


@DATA.row
def an_object_without_fields() -> None:
    dumped(Nothing())


@DATA.row
def a_field_of_another_type() -> None:
    dumped(Order(count=wrong("secret")))


@DATA.row
def a_field_without_a_value() -> None:
    @dataclass
    class Shop:
        name: str = field(init=False)

    dumped(Shop())


@DATA.row
def a_field_that_holds_a_subclass() -> None:
    dumped(Order(lines=[SpecialLine("tea", 1, "bow")]))


@DATA.row
def a_field_whose_own_field_is_of_another_type() -> None:
    dumped(Order(lines=[Line("tea", wrong("secret"))]))


@DATA.row
def a_field_of_a_type_that_has_no_json() -> None:
    @dataclass
    class Shop:
        client: Client

    dumped(Shop(Client()))


@DATA.row
def a_field_whose_keys_are_no_texts() -> None:
    @dataclass
    class Shop:
        prices: dict[tuple[str, int], int]

    dumped(Shop({}))


@DATA.row
def a_field_whose_annotation_can_not_be_resolved() -> None:
    @dataclass
    class Shop:
        client: Nowhere  # type: ignore[name-defined] # noqa: F821 wrong on purpose

    dumped(Shop(1))


@DATA.row
def a_field_that_its_own_type_would_refuse() -> None:
    @dataclass
    class Shop:
        count: Annotated[int, Field(gt=0)]

    dumped(Shop(0))


@DATA.row
def a_field_that_is_nested_too_deeply() -> None:
    @dataclass
    class Shop:
        tree: list[Any]

    tree: list[Any] = []
    for _ in range(250):
        tree = [tree]
    dumped(Shop(tree))


@DATA.row
def a_field_that_is_nested_too_deeply_for_a_snapshot() -> None:
    @dataclass
    class Shop:
        tree: Any

    tree: list[Any] = []
    for _ in range(190):
        tree = [tree]
    dumped(Shop(tree))


@DATA.row
def a_class_that_can_not_be_made_again() -> None:
    @dataclass
    class Shop:
        name: InitVar[str]

    dumped(Shop("tea"))


@DATA.row
def a_model_that_can_not_be_made_again() -> None:
    class Shop(BaseModel):
        client: int = Field(exclude=True)

    dumped(Shop(client=1))


@DATA.row
def a_value_that_is_no_field() -> None:
    class Shop(BaseModel):
        model_config = ConfigDict(extra="allow")

    dumped(Shop.model_validate({"tea": 1}))


@DATA.row
def an_arg_that_became_unfit() -> None:
    order, state = Order(), new()
    resume(order, state, now=NOW)
    state.threads[0].arg = Client()
    dump(order, state)


@DATA.row
def a_note_that_is_no_json() -> None:
    state = new()
    state.notes.append(Client())
    dump(Order(), state)


@DATA.row
def a_version_that_is_none() -> None:
    @dataclass
    class Shop:
        version: ClassVar[Any] = "two"

    dumped(Shop())


# --- what can't be read ---


def document(change: Callable[[dict[str, Any]], Any]) -> str:
    order, state = Order(), new()
    resume(order, state, now=NOW)
    found: dict[str, Any] = json.loads(dump(order, state))
    change(found)
    return json.dumps(found)


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one place of the document."""

    def change(found: Any) -> None:
        *way, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        for key in way:
            found = found[key]
        found[last] = value

    return change


for _title, _blob in dict[str, Any](
    {
        "no snapshot": lambda: 5,
        "a snapshot that was cut off": lambda: document(lambda found: None)[:50],
        "a snapshot that is no object": lambda: "[]",
        "a snapshot of a newer format": lambda: document(put("format", 2)),
        "a snapshot of no format": lambda: document(lambda found: found.pop("format")),
        "a snapshot with other keys": lambda: document(lambda found: found.update(extra=found.pop("data"))),
        "data that is no object": lambda: document(put("data", [1])),
        "two names of the workflow": lambda: document(put("workflow", "Invoice")),
        "a state that is no object": lambda: document(put("state", 5)),
        "an unknown key": lambda: document(put("state.threads.0.colour", "red")),
        "a missing key": lambda: document(lambda found: found["state"].pop("run_id")),
        "a text that is none": lambda: document(put("state.threads.0.position", 5)),
        "a number that is none": lambda: document(put("state.revision", -1)),
        "a flag that is none": lambda: document(put("state.threads.0.events.0.handled", "yes")),
        "an instant that is none": lambda: document(put("state.wake_at", "yesterday")),
        "an instant without a time zone": lambda: document(put("state.wake_at", "2026-06-01T00:00:00")),
        "an instant past the calendar": lambda: document(put("state.wake_at", "0001-01-01T00:00:00+14:00")),
        "a status that is none": lambda: document(put("state.threads.0.status", "Sleeping")),
        "a list that is none": lambda: document(put("state.threads", {})),
        "a run without main": lambda: document(put("state.threads", [])),
        "two threads with one id": lambda: document(
            lambda found: found["state"]["threads"].append({"id": "main", "name": "x"})
        ),
    }
).items():
    READING.add(_title, lambda blob=_blob: load(Order, blob()))


@READING.row
def no_class_to_load() -> None:
    load(wrong("Order"), "{}")


@READING.row
def data_that_can_not_become_an_object() -> None:
    @dataclass
    class Strict(Order):
        def __post_init__(self) -> None:
            raise ValueError("closed on Mondays")

    load(Strict, document(lambda found: None))


# --- data of another version ---


@VERSIONS.row
def a_field_that_the_class_does_not_have() -> None:
    load(Order, document(put("data.colour", "red")))


@VERSIONS.row
def a_field_that_has_another_type_now() -> None:
    load(Order, document(put("data.count", "secret")))


@VERSIONS.row
def a_field_that_is_new_and_has_no_default() -> None:
    @dataclass
    class Shipped(Order):
        parcel: str = field(kw_only=True)

    load(Shipped, document(lambda found: None))


@VERSIONS.row
def a_version_that_is_none_in_a_snapshot() -> None:
    load(Order, document(put("version", "two")))


@VERSIONS.row
def a_newer_version() -> None:
    load(Order, document(put("version", 2)))


@VERSIONS.row
def an_older_version_without_migrate() -> None:
    @dataclass
    class Newer(Order):
        version: ClassVar[int] = 2

    load(Newer, document(lambda found: None))


def _migrating(migrated: Callable[[], Any]) -> None:
    @dataclass
    class Newer(Order):
        version: ClassVar[int] = 2

        @classmethod
        def migrate(cls, data: dict[str, Any], version: int) -> Any:
            return migrated()

    load(Newer, document(lambda found: None))


VERSIONS.add("a migrate that raises", lambda: _migrating(lambda: dict[str, str]()["sku"]))
VERSIONS.add("a migrate that returns nothing", lambda: _migrating(lambda: None))
VERSIONS.add("a migrate that returns what is no JSON", lambda: _migrating(lambda: {"sku": Client()}))


# --- positions ---


def _another(tree: Callable[[], Statement], before: Callable[[], Statement], change: Any = None) -> None:
    """A run of one definition goes on under another."""

    @dataclass
    class Old:
        definition: ClassVar[Any] = staticmethod(before)

    @dataclass
    class Present:
        definition: ClassVar[Any] = staticmethod(tree)

    Present.__qualname__ = Present.__name__ = "Order"
    old, state = Old(), new()
    resume(old, state, now=NOW)
    document = json.loads(dump(old, state))
    if change is not None:
        change(document)
    resume(*load(Present, json.dumps(document)), now=NOW)


def _paying(name: str = "payment", event: str = "paid") -> Statement:
    return Wait(name, On(event))


def _fired(found: Any) -> None:
    found["state"]["threads"][0] |= {"status": "Resuming", "event": "paid"}
    del found["state"]["threads"][0]["events"]


def _loop(name: str = "lines", stop: str = "payment") -> Statement:
    return ForEach(name, lambda w: ["tea"], _paying(stop))


def _takes(line: int, w: Any = None) -> None: ...


for _title, _trees in dict[str, tuple[Any, ...]](
    {
        "a statement that is gone": (lambda: Step("ship", print), _paying),
        "a statement with another name": (lambda: _paying("payments"), _paying),
        "a statement with another name in a scope": (lambda: S(_paying("shop payment"), Step("x", _takes)), _paying),
        "a Go that is gone": (
            lambda: S(Wait("payment", On("paid"))),
            lambda: S(Go("ship", Wait("parcel", On("fetched"))), Wait("payment", On("paid"))),
            lambda found: found["state"]["threads"][1].update(position="", status="Resuming", pc=0, events=[]),
        ),
        "a statement of another kind": (lambda: Step("payment", lambda w: None), _paying),
        "a statement in another thread": (lambda: S(Go("ship", _paying()), Join("all", "ship")), _paying),
        "a statement in another loop": (lambda: _loop("parcels"), _loop),
        "a statement in a loop": (_loop, _paying),
        "an event that fired and is gone": (lambda: _paying(event="payed"), _paying, _fired),
        "an event that fired where none can": (_paying, _paying, put("state.threads.0.event", "paid")),
        "a sleep without an end": (
            lambda: Sleep("pause", HOUR),
            lambda: Sleep("pause", HOUR),
            lambda found: found["state"]["threads"][0].pop("due_at"),
        ),
        "a handler that is gone": (
            lambda: WaitFor("payment", lambda w: False),
            _paying,
            lambda found: found["state"]["threads"][0].update(status="Executing", events=[]),
        ),
        "a thread that is main by name only": (_paying, _paying, put("state.threads.0.name", "ship")),
        "two threads that become one": (
            lambda: S(Go("ship", Wait("parcel", On("fetched"), was=("letter",)), was=("send",)), Join("all", "ship")),
            lambda: S(
                Go("ship", Wait("parcel", On("fetched"))),
                Go("send", Wait("letter", On("fetched"))),
                Join("all", "ship", "send"),
            ),
        ),
        "an item that has another type now": (
            lambda: ForEach("lines", lambda w: ["tea"], S(_paying(), Step("pack", lambda w, line: None), Step("x", _item))),
            _loop,
        ),
    }
).items():
    POSITIONS.add(_title, lambda trees=_trees: _another(*trees))


def _item(w: Any, line: int) -> None: ...


@POSITIONS.row
def a_state_without_threads() -> None:
    state = new()
    state.threads.clear()
    resume(Order(), state)
