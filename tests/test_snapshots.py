"""``dump`` and ``load``: what goes in comes out, the same run gives the same bytes, and what can't be read is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import InitVar, asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from uuid import UUID

import pydantic.dataclasses
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Discriminator, Field, PrivateAttr, RootModel, Tag, computed_field
from typing_extensions import TypedDict

from flowstmt import (
    CheckpointType,
    EventStatus,
    ForEach,
    Frame,
    Go,
    Join,
    On,
    Return,
    S,
    State,
    StateError,
    Statement,
    Step,
    StepError,
    Thread,
    ThreadStatus,
    Wait,
    WorkflowStatus,
    dump,
    handle_callback,
    load,
    resume,
)
from flowstmt.core.state import birth_of
from flowstmt.core.state_json import check_kept

ROOT = Path(__file__).parent.parent


class Color(Enum):
    RED = "r"
    BLUE = "b"


class Level(IntEnum):
    LOW = 1


class Size(StrEnum):
    BIG = "big"


class Mixed(Enum):
    PAIR = ("x", 2)


class Point(NamedTuple):
    x: int
    label: str = ""
    tags: frozenset[str] = frozenset({"a"})


class Options(TypedDict, total=False):
    flags: set[int]
    raw: bytes


@dataclass
class Line:
    sku: str
    amount: int = 1
    tags: set[str] = field(default_factory=set)


@dataclass
class Numbered:
    """A nested dataclass that works one of its fields out by itself."""

    number: int = 1
    label: str = field(init=False, default="none")
    start: InitVar[int] = 0


@dataclass(frozen=True, slots=True)
class Price:
    amount: Decimal
    currency: str = "EUR"


@dataclass
class Branch:
    leaves: set[str] = field(default_factory=set)
    branches: list[Branch] = field(default_factory=list)


class Receipt(BaseModel):
    number: int = 1
    tags: set[str] = set()
    scan: bytes = b""
    weight: float = 0.0
    lines: list[Line] = []


class Renamed(BaseModel):
    """Has other names outside, forbids others, and shows what it works out."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)
    sku: int = Field(1, alias="SKU")

    @computed_field  # type: ignore[prop-decorator] # pydantic's own way to say it
    @property
    def double(self) -> int:
        return self.sku * 2


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)
    sku: int = 1


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    at: datetime
    numbers: set[int]
    id: UUID
    pair: tuple[int, ...]
    raw: bytes


class Numbers(RootModel[list[int]]):
    pass


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


def tag_of(animal: Any) -> str:
    return (animal["kind"] if isinstance(animal, dict) else animal.kind)[0]


class Unhashable:
    __hash__ = None  # type: ignore[assignment] # as an object with __eq__ only


@pydantic.dataclasses.dataclass
class Parcel:
    tags: set[str] = dataclasses.field(default_factory=set)
    label: bytes = b""


class Lock:
    """Nothing that JSON could hold."""


class Base:
    def definition(self) -> Statement:
        return S()


def holder(wanted: Any) -> Any:
    """A workflow class with one field ``value`` of a type."""
    return dataclasses.make_dataclass("Holder", [("value", wanted)], bases=(Base,))


def fresh() -> State:
    return State.new("run-1", "Holder")


def data_of(blob: bytes) -> Any:
    return json.loads(blob)["data"]


NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ROUND_TRIPS: list[tuple[Any, list[Any]]] = [
    (int, [0, -1, 2**53 + 1, 2**63, 2**64, -(10**30)]),
    (float, [0.5, -0.0, 1e300, math.inf, -math.inf]),
    (bool, [True, False]),
    (str, ["", "é\u202e🎉", "e\u0301", "\x00", "null", "NaN", "Infinity"]),
    (bytes, [b"", b"\xff\x00"]),
    (complex, [1 + 2j]),
    (Decimal, [Decimal("1.10"), Decimal("1E+30"), Decimal("-0")]),
    (datetime, [NOW, NOW.replace(tzinfo=None), NOW.astimezone(timezone(timedelta(hours=-3, minutes=-30)))]),
    (date, [NOW.date()]),
    (time, [time(1, 2, 3, 4)]),
    (timedelta, [timedelta(), timedelta(seconds=1.5), timedelta(days=-3, microseconds=1), timedelta.max, timedelta.min]),
    (UUID, [UUID(int=5)]),
    (Color, [Color.RED]),
    (Level, [Level.LOW]),
    (Size, [Size.BIG]),
    (Path, [Path("/tmp/x")]),
    (Literal["a", 1] | None, ["a", 1, None]),
    (int | None, [None, 3]),
    (int | str, [1, "1", "a"]),
    (bytes | list[int] | None, [b"ab", [1], None]),
    (Line | Receipt | None, [Line("a"), Receipt(tags={"b"}), None]),
    (Annotated[Cat | Dog, Field(discriminator="kind")], [Dog(), Cat()]),
    (Annotated[Annotated[Cat, Tag("c")] | Annotated[Dog, Tag("d")], Discriminator(tag_of)], [Dog(), Cat()]),
    (Annotated[Cat, Tag("c")] | Annotated[Dog, Tag("d")], [Dog(), Cat()]),
    (Annotated[int, Unhashable()], [1]),
    (list[Line], [[], [Line("a", 2, {"x", "y"})]]),
    (list[float], [[1.0, math.inf]]),
    (tuple[int, str], [(1, "a")]),
    (tuple[Decimal, ...], [(), (Decimal("1.0"),)]),
    (tuple, [(1, "a")]),
    (set[str], [set(), {"a", "b", "c"}]),
    (set[Color], [{Color.RED, Color.BLUE}]),
    (set[tuple[int, str]], [{(1, "a"), (2, "b")}]),
    (set, [{1, "a"}]),
    (frozenset[int], [frozenset({1, 2})]),
    (frozenset[frozenset[int]], [frozenset({frozenset({1, 2}), frozenset({3, 1})})]),
    (deque[int], [deque([1, 2])]),
    (dict[str, dict[str, list[set[int]]]], [{"a": {"b": [{1, 2}, set()]}}]),
    (dict[int, str], [{1: "a", -2: "b"}]),
    (dict[bool, int], [{True: 1}]),
    (dict[float, int], [{1.5: 1}]),
    (dict[Decimal, int], [{Decimal("1.5"): 1}]),
    (dict[bytes, int], [{b"\xff": 1}]),
    (dict[date, int], [{NOW.date(): 1}]),
    (dict[datetime, int], [{NOW: 1}]),
    (dict[timedelta, int], [{timedelta(1): 1}]),
    (dict[UUID, Decimal], [{UUID(int=1): Decimal("1.0")}]),
    (dict[Color, bytes], [{Color.RED: b"\xff"}]),
    (dict[Literal["a", "b"], int], [{"a": 1}]),
    (dict, [{"a": {"b": [1, None]}}]),
    (list, [[1, "a", None, 1.5]]),
    (Any, [None, 1, "a", [1, {"a": None}]]),
    (object, [1]),
    (Point, [Point(1), Point(2, "b", frozenset({"x", "y"}))]),
    (Options, [{}, {"flags": {1, 2}}, {"raw": b"\xff"}]),
    (Price, [Price(Decimal("1.50"))]),
    (Branch, [Branch({"a"}, [Branch({"b", "c"})])]),
    (Numbered, [Numbered(2)]),
    (Receipt, [Receipt(tags={"a", "b"}, scan=b"\xff", weight=math.inf, lines=[Line("x", 1, {"q", "p"})])]),
    (Parcel, [Parcel({"a", "b"}, b"\xff")]),
    (Renamed, [Renamed(SKU=3)]),
    (Loose, [Loose(sku=2), Loose.model_validate({"other": 3})]),
    (Strict, [Strict(at=NOW, numbers={1}, id=UUID(int=1), pair=(1,), raw=b"\xff")]),
    (Numbers, [Numbers([1, 2])]),
    (Annotated[int, Field(gt=0)], [1]),
]


@pytest.mark.parametrize(
    ("wanted", "value"),
    [pytest.param(wanted, value, id=f"{wanted}-{i}") for wanted, values in ROUND_TRIPS for i, value in enumerate(values)],
)
def test_a_value_of_a_usual_type_comes_back_as_it_was(wanted: Any, value: Any) -> None:
    cls = holder(wanted)
    blob = dump(cls(value), fresh())
    loaded, state = load(cls, blob)
    assert loaded.value == value
    assert type(loaded.value) is type(value)
    assert state == fresh()
    assert dump(loaded, state) == blob


def test_nan_comes_back_as_nan() -> None:
    cls = holder(list[float])
    (value,) = load(cls, dump(cls([math.nan]), fresh()))[0].value
    assert math.isnan(value)


def test_a_field_of_a_nested_dataclass_that_is_not_in_its_init_comes_back() -> None:
    value = Numbered(4)
    value.label = "changed"
    cls = holder(Numbered)
    assert load(cls, dump(cls(value), fresh()))[0].value == value


def test_an_untyped_field_comes_back_as_json_values() -> None:
    cls = holder(Any)
    assert load(cls, dump(cls({"a": (1, Line("x"))}), fresh()))[0].value == {"a": [1, {"sku": "x", "amount": 1, "tags": []}]}


loop: list[Any] = []
loop.append(loop)
deep: Any = "x"
for _ in range(195):
    deep = [deep]
deeper: Any = deep
for _ in range(100_000):
    deeper = [deeper]
UNSAVEABLE: list[tuple[Any, Any, str]] = [
    (Any, object(), "unknown type"),
    (Callable[[], int], len, "unknown type"),
    (bytearray, bytearray(b"a"), "can't be turned into JSON"),
    (range, range(3), "can't be turned into JSON"),
    (list[Lock], [Lock()], "can't be turned into JSON"),
    (str, "\ud800", "surrogates"),
    (list, loop, "Circular"),
    (list, deep, "recursion limit"),
    (list, deeper, "depth"),
    # pydantic would write all of these, and then refuse to read them.
    (int, None, "valid integer"),
    (Line, Line("a", None), "amount: Input should be a valid integer"),  # type: ignore[arg-type] # wrong on purpose
    (list[Line], [Line(None)], "0.sku"),  # type: ignore[arg-type] # wrong on purpose
    (Decimal, Decimal("NaN"), "finite"),
    (Annotated[int, Field(gt=0)], -1, "greater than 0"),
    (Mixed, Mixed.PAIR, "read again"),
    (dict[tuple[int, int], str], {}, "keys of a dict"),
    (dict[Point, str], {}, "keys of a dict"),
    (dict[int | None, str], {}, "keys of a dict"),
    (dict[Literal[1, 2], str], {}, "keys of a dict"),
    (dict[Level, str], {}, "keys of a dict"),
    (list[dict[frozenset[int], str]], [], "keys of a dict"),
    # ... or would write with a warning.
    (int, "x", "int"),
    (int, 1.5, "int"),
    (Line, Price(Decimal(1)), "Price"),
]


@pytest.mark.parametrize(
    ("wanted", "value", "why"), [pytest.param(*case, id=f"{case[0]}-{i}") for i, case in enumerate(UNSAVEABLE)]
)
def test_what_could_not_be_read_again_is_refused_by_the_first_dump_and_named(wanted: Any, value: Any, why: str) -> None:
    with pytest.raises(StateError, match=r"Holder\.value\b") as caught:
        dump(holder(wanted)(value), fresh())
    assert why in str(caught.value)


@pytest.mark.parametrize("depth", range(180, 200))
def test_whatever_its_depth_a_value_is_refused_or_can_be_loaded(depth: int) -> None:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    cls = holder(Any)
    try:
        blob = dump(cls(value), fresh())
    except StateError as error:
        assert "Holder" in str(error)  # noqa: PT017 the other half of the claim follows
    else:
        assert load(cls, blob)[0].value == value


def test_unions_that_differ_in_their_order_are_not_taken_for_each_other() -> None:
    from flowstmt.codec import adapter_for

    for first, second in ((Decimal | str, str | Decimal), (list[Decimal | str], list[str | Decimal])):
        assert first == second
        assert adapter_for(first) is not adapter_for(second)
        assert adapter_for(first) is adapter_for(first)


def test_a_field_without_a_value_is_named() -> None:
    @dataclass
    class Order(Base):
        paid: int
        later: int = field(init=False)

    with pytest.raises(StateError, match=r"Order\.later has no value: give it a default"):
        dump(Order(1), fresh())


def test_an_annotation_that_can_not_be_resolved_is_told() -> None:
    @dataclass
    class Order(Base):
        paid: Nowhere = 1  # type: ignore[name-defined] # noqa: F821 wrong on purpose

    with pytest.raises(StateError, match="Order: the annotations of its fields can't be resolved: name 'Nowhere'"):
        dump(Order(), fresh())


def test_an_annotation_of_a_model_that_can_not_be_resolved_is_told() -> None:
    class Order(BaseModel):
        paid: Nowhere = 1  # type: ignore[name-defined] # noqa: F821 wrong on purpose

        def definition(self) -> Statement:
            return S()

    with pytest.raises(StateError, match="Order: the annotations of its fields can't be resolved: name 'Nowhere'"):
        dump(Order.model_construct(), fresh())


def test_a_local_models_annotations_keep_their_limits() -> None:
    class Inner(BaseModel):
        at: datetime

    class Order(BaseModel):
        inner: Inner
        count: Annotated[int, Field(gt=0)] = 1

        def definition(self) -> Statement:
            return S()

    order = Order(inner=Inner(at=NOW))
    assert load(Order, dump(order, fresh()))[0] == order
    order.count = 0
    with pytest.raises(StateError, match=r"Order\.count can't be saved: .*greater than 0"):
        dump(order, fresh())


# --- the shape of a workflow class ---


@dataclass
class Plain(Base):
    lines: list[Line]
    color: Color = Color.RED
    log: list[str] = field(default_factory=list, kw_only=True)
    total: int = field(init=False, default=0)
    client: Any = field(default=None, metadata={"transient": True})
    starts: ClassVar[int] = 0
    offset: InitVar[int] = 7

    def __post_init__(self, offset: int) -> None:
        type(self).starts += 1
        self.total += len(self.lines) + offset
        self.client = "made by __post_init__"


@dataclass(frozen=True, slots=True)
class Frozen(Base):
    lines: list[Line]
    color: Color = Color.RED
    client: Any = field(default=None, metadata={"transient": True})


class Model(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    lines: list[Line]
    color: Color = Field(Color.RED, alias="colour")
    log: list[str] = Field(default_factory=list)
    client: object = Field(default=None, exclude=True)
    _hidden: int = PrivateAttr(default=3)

    def model_post_init(self, _: Any) -> None:
        self._hidden = len(self.lines) + 40

    def definition(self) -> Statement:
        return S()


@pydantic.dataclasses.dataclass
class Validated:
    lines: list[Line]
    color: Color = Color.RED
    log: list[str] = Field(default_factory=list)
    client: Any = dataclasses.field(default=None, metadata={"transient": True})
    secret: str = Field(default="s", exclude=True)

    def definition(self) -> Statement:
        return S()


class Inherited(Plain):
    """No dataclass of its own."""


@pytest.mark.parametrize("cls", [Plain, Frozen, Model, Validated, Inherited])
def test_a_workflow_of_every_kind_comes_back_without_its_transient_fields(cls: Any) -> None:
    order = cls(lines=[Line("a", 2, {"x"})])
    object.__setattr__(order, "client", object())
    object.__setattr__(order, "color", Color.BLUE)
    blob = dump(order, fresh())
    assert not {"client", "secret", "starts", "offset", "_hidden"} & data_of(blob).keys()
    loaded, state = load(cls, blob)
    assert type(loaded) is cls
    assert loaded.lines == order.lines
    assert loaded.color is Color.BLUE
    assert dump(loaded, state) == blob
    assert dump(order, fresh()) == blob


def test_post_init_makes_transient_fields_and_does_not_do_its_work_on_saved_ones_twice() -> None:
    order = Plain([Line("a")])
    order.total = 100
    loaded, _ = load(Plain, dump(order, fresh()))
    assert loaded.total == 100
    assert loaded.client == "made by __post_init__"


def test_private_attributes_of_a_model_are_made_anew() -> None:
    loaded, _ = load(Model, dump(Model(colour=Color.RED, lines=[Line("a"), Line("b")]), fresh()))
    assert loaded._hidden == 42


@pytest.mark.parametrize("cls", [Plain, Frozen, Model, Validated])
def test_missing_keys_take_their_default_anew_for_each_load(cls: Any) -> None:
    document = json.loads(dump(cls(lines=[]), fresh()))
    document["data"] = {"lines": []}
    first, _ = load(cls, json.dumps(document))
    second, _ = load(cls, json.dumps(document))
    assert first.color is Color.RED
    if hasattr(first, "log"):
        assert first.log == []
        assert first.log is not second.log


@pytest.mark.parametrize("cls", [Plain, Frozen, Model, Validated])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data.pop("lines"), r"\$\.data\.lines: Field required.*migrate"),
        (lambda data: data.update(lines=[{"sku": 1}]), r"\$\.data\.lines\.0\.sku: Input should be a valid string"),
        (lambda data: data.update(colr="r"), r"\$\.data\.colr: \w+ saves no field of this name.*migrate\(data, version\)"),
        (lambda data: data.update(client=None), r"\$\.data\.client: \w+ saves no field"),
        (lambda data: data.update(color="green"), r"\$\.data\.color: Input should be 'r' or 'b'"),
        (lambda data: data.update(color=None), r"\$\.data\.color"),
    ],
)
def test_data_that_does_not_fit_the_class_is_refused_with_its_path(cls: Any, change: Callable[[Any], Any], why: str) -> None:
    document = json.loads(dump(cls(lines=[]), fresh()))
    change(document["data"])
    with pytest.raises(StateError, match=rf"run 'run-1': {why}"):
        load(cls, json.dumps(document))


def test_refused_data_is_not_quoted_for_it_may_be_secret() -> None:
    cls = holder(int)
    blob = dump(cls(1), fresh()).replace(b'"value":1', b'"value":"hunter2"')
    with pytest.raises(StateError) as caught:
        load(cls, blob)
    assert "hunter2" not in str(caught.value)


def test_what_could_not_be_made_again_is_refused_by_the_first_dump() -> None:
    @dataclass
    class Handle(Base):
        client: Any = field(metadata={"transient": True})

    @dataclass
    class Offset(Base):
        offset: InitVar[int]
        total: int = 0

    class Excluded(BaseModel):
        client: int = Field(exclude=True)

        def definition(self) -> Statement:
            return S()

    for order, name in ((Handle(1), "client"), (Offset(1), "offset"), (Excluded(client=1), "client")):
        with pytest.raises(StateError, match=f"could not be made again from its saved fields.*'{name}'.*default"):
            dump(order, fresh())


def test_undeclared_fields_of_a_model_are_refused_and_not_dropped() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        sku: str = "tea"

        def definition(self) -> Statement:
            return S()

    dump(Open(), fresh())
    with pytest.raises(StateError, match=r"Open\.other is no declared field, and would not be saved"):
        dump(Open.model_validate({"other": 1}), fresh())


def test_a_class_whose_init_refuses_its_own_data_is_told() -> None:
    @dataclass
    class Picky(Base):
        count: int = 0

        def __post_init__(self) -> None:
            if self.count > 3:
                raise KeyError("too many")

    order = Picky(1)
    order.count = 5
    with pytest.raises(
        StateError, match=r"run 'run-1': Picky can't be made from its saved data: .* raised KeyError: 'too many'"
    ):
        load(Picky, dump(order, fresh()))


class NoData:
    def definition(self) -> Statement:
        return S()


@pytest.mark.parametrize("thing", [None, 1, "text", NoData(), Plain, object()])
def test_only_dataclasses_and_models_can_be_dumped(thing: Any) -> None:
    with pytest.raises(StateError, match=f"{type(thing).__name__} is neither a dataclass nor a pydantic model"):
        dump(thing, fresh())


# --- versions ---


@dataclass
class Third(Base):
    version: ClassVar[int] = 3
    sku: str
    migrated: ClassVar[list[tuple[dict[str, Any], int]]] = []

    @classmethod
    def migrate(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
        cls.migrated.append((dict(data), version))
        return {"sku": data["article"]}


def written_by(version: Any, data: Any) -> bytes:
    document = json.loads(dump(Third("tea"), fresh()))
    return json.dumps({**document, "version": version, "data": data}).encode()


def test_older_data_goes_through_migrate_once() -> None:
    Third.migrated.clear()
    assert load(Third, written_by(1, {"article": "milk"}))[0] == Third("milk")
    assert Third.migrated == [({"article": "milk"}, 1)]
    assert load(Third, written_by(3, {"sku": "milk"}))[0] == Third("milk")
    assert len(Third.migrated) == 1


def test_newer_data_is_refused() -> None:
    with pytest.raises(StateError, match=r"\$\.version: the data was saved by version 4 of Third; this is version 3"):
        load(Third, written_by(4, {"sku": "milk"}))


@pytest.mark.parametrize("version", [0, -1, "1", None, True, 1.0, []])
def test_a_version_is_a_whole_number(version: Any) -> None:
    with pytest.raises(StateError, match=r"\$\.version: expected a whole number from 1"):
        load(Third, written_by(version, {"sku": "milk"}))


def test_older_data_without_migrate_is_refused() -> None:
    @dataclass
    class Second(Base):
        version: ClassVar[int] = 2

    blob = dump(Second(), fresh()).replace(b'"version":2', b'"version":1')
    with pytest.raises(StateError, match=r"saved by version 1 of Second, this is version 2: give it a class method migrate"):
        load(Second, blob)


def test_what_migrate_raises_or_returns_wrongly_is_told() -> None:
    with pytest.raises(StateError, match=r"Third\.migrate raised KeyError: 'article', on data of version 1"):
        load(Third, written_by(1, {}))

    @dataclass
    class Forgetful(Base):
        version: ClassVar[int] = 2

        @staticmethod
        def migrate(data: Any, version: int) -> None: ...

    blob = dump(Forgetful(), fresh()).replace(b'"version":2', b'"version":1')
    with pytest.raises(StateError, match=r"Forgetful\.migrate must return the data as a dict, not None"):
        load(Forgetful, blob)


def test_migrate_may_return_values_that_are_no_json_yet() -> None:
    @dataclass
    class Dated(Base):
        version: ClassVar[int] = 2
        at: datetime
        tags: set[str] = field(default_factory=set)

        @classmethod
        def migrate(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
            return {"at": NOW, "tags": {"a"}}

    blob = dump(Dated(NOW), fresh()).replace(b'"version":2', b'"version":1')
    assert load(Dated, blob)[0] == Dated(NOW, {"a"})


def test_what_migrate_returns_must_be_data() -> None:
    @dataclass
    class Odd(Base):
        version: ClassVar[int] = 2

        @classmethod
        def migrate(cls, data: dict[str, Any], version: int) -> dict[str, Any]:
            return {"client": object()}

    blob = dump(Odd(), fresh()).replace(b'"version":2', b'"version":1')
    with pytest.raises(StateError, match=r"Odd"):
        load(Odd, blob)


@pytest.mark.parametrize("wrong", [0, "2", True, None])
def test_the_version_of_a_class_is_a_whole_number(wrong: Any) -> None:
    cls = holder(int)
    cls.version = wrong
    with pytest.raises(StateError, match=r"Holder\.version must be a whole number from 1"):
        dump(cls(1), fresh())


def test_a_field_called_version_is_data() -> None:
    @dataclass
    class Release(Base):
        version: str = "1.2"

    blob = dump(Release("2.0"), fresh())
    assert json.loads(blob)["version"] == 1
    assert load(Release, blob)[0] == Release("2.0")


# --- documents that are none ---


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (None, "a snapshot is bytes, a text or a dict, not None"),
        (5, "a snapshot is bytes, a text or a dict, not an int"),
        ({}, r"\$\.format: expected 1, not None"),
        ({"format": object()}, "the snapshot is no JSON"),
        (b"", "no JSON"),
        ("", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        ("\ud800", "no JSON|surrogates"),
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "a snapshot is a JSON object"),
        (b"null", "a snapshot is a JSON object"),
        (b"{}", r"\$\.format: expected 1, not None"),
        (b'{"format":2}', r"\$\.format: the snapshot has format 2, written by a newer flowstmt; this one reads 1"),
        (b'{"format":0}', r"\$\.format: expected 1, not 0"),
        (b'{"format":true}', r"\$\.format: expected 1, not True"),
        (b'{"format":"1"}', r"\$\.format: expected 1, not '1'"),
        (b'{"format":1}', r"missing: \['workflow', 'version', 'data', 'state'\]"),
        (b'{"format":1,"workflow":"w","version":1,"data":{},"state":{},"more":1}', r"unknown: \['more'\]"),
        (b'{"format":1,"workflow":"w","version":1,"data":[],"state":{}}', r"\$\.data: expected an object"),
        (b'{"format":1,"workflow":"w","version":1,"data":{},"state":[]}', r"\$\.state: expected an object, not \[\]"),
    ],
)
def test_what_is_no_snapshot_is_refused(blob: Any, why: str) -> None:
    with pytest.raises(StateError, match=why):
        load(Plain, blob)


def test_every_kind_of_text_and_bytes_is_read() -> None:
    blob = dump(Frozen([Line("é")]), fresh())
    for same in (blob, bytearray(blob), memoryview(blob), blob.decode(), json.loads(blob)):
        assert load(Frozen, same)[0] == Frozen([Line("é")])


def test_a_parsed_document_is_not_changed_and_nothing_of_it_is_shared() -> None:
    state = fresh()
    state.threads[0].arg = {"lines": [1]}
    document = json.loads(dump(Frozen([Line("é")]), state))
    before = json.dumps(document)
    _, state = load(Frozen, document)
    state.threads[0].arg["lines"].append(2)
    assert json.dumps(document) == before


def test_the_workflow_is_written_twice_and_must_agree() -> None:
    document = json.loads(dump(Frozen([]), fresh()))
    document["workflow"] = "Other"
    with pytest.raises(StateError, match=r"\$\.workflow is 'Other', but \$\.state\.workflow is 'Holder'"):
        load(Frozen, json.dumps(document))


@pytest.mark.parametrize("cls", [None, 1, "Plain", Plain([])])
def test_load_takes_a_class(cls: Any) -> None:
    with pytest.raises(StateError, match="expected the class of the workflow"):
        load(cls, dump(Plain([]), fresh()))


# --- hand-edited states ---


def full_state() -> Any:
    """A state in which every record stands once, as JSON."""
    request = {"name": "paid", "thread_id": "main", "pc": 2, "birth": "b", "run_id": "run-1", "setup_data": "x"}
    error = {"type": "OSError", "message": "no", "step": "pay", "attempts": 2}
    failed = {**error, "type": "KeyError"}
    broken = {**error, "message": "broken"}
    failure = {"exit": "failure", "error": {**error}, "catch": {"try": "t", "case": 0}}
    counts = {"count": 3, "next": 3, "live": 1, "succeeded": 1, "failed": 1}
    answer = {"who": "ann", "comment": "", "approved": True, "at": "2026-01-02T03:04:05Z"}
    case = {"event": "remind", "decided": "reject"}
    undone = {
        "step": "pay",
        "thread": "main",
        "birth": "b",
        "pc": 2,
        "result": 1,
        "item": 2,
        "sagas": ["b"],
        "error": {**error},
    }
    event = {
        "name": "paid",
        "wait": "payment",
        "type": "Webhook",
        "request": request,
        "status": "SetupError",
        "handled": True,
        "error": error,
        "due_at": "2026-01-02T03:04:05Z",
    }
    thread = {
        "id": "main",
        "name": "main",
        "status": "WaitingEvent",
        "position": "payment",
        "pc": 2,
        "birth": "b",
        "ready": 3,
        "since": "2026-01-02T03:04:05.000001Z",
        "event": "paid",
        "events": [event],
        "parent": "other",
        "due_at": "2026-01-02T03:04:05Z",
        "attempt": 2,
        "error": failed,
        "arg": {"a": [1]},
        "frames": [
            {"statement": "lines", "index": 1, "item": {"sku": "a"}, "exit": {"exit": "return", "value": [1], "sticky": True}},
            {"statement": "trip", "index": 0, "exit": failure, "data": {"saga": "b"}},
            {"statement": "all", "index": 0, "data": {**counts, "errors": [{"branch": "c", **error, "index": 2}], "met": True}},
            {"statement": "ok", "index": 0, "data": {"approvers": ["ann"], "answers": [answer], "then": ["reject"], **case}},
            {"statement": "month", "index": 0, "data": {"then": ["change"], **case}},
        ],
        "sagas": ["5a3ed210e04caf2b"],
    }
    return {
        "run_id": "run-1",
        "workflow": "Frozen",
        "status": "Waiting",
        "revision": 4,
        "wake_at": "2026-01-02T03:04:05Z",
        "threads": [thread],
        "result": {"a": 1},
        "error": broken,
        "undo": [undone],
        "notes": ["x", None],
    }


def document_of(state: Any) -> bytes:
    return json.dumps({"format": 1, "workflow": "Frozen", "version": 1, "data": {"lines": []}, "state": state}).encode()


@pytest.mark.usefixtures("odd_states")
def test_every_key_of_a_state_survives_a_trip() -> None:
    blob = document_of(full_state())
    order, state = load(Frozen, blob)
    assert json.loads(dump(order, state))["state"] == full_state()
    assert state.threads[0].frames[0] == Frame("lines", 1, {"sku": "a"}, {"exit": "return", "value": [1], "sticky": True})
    assert state.wake_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    again = load(Frozen, dump(order, state))[1]
    assert again == state


def test_keys_at_their_default_are_left_out_and_missing_ones_take_it() -> None:
    assert list(json.loads(dump(Frozen([]), fresh()))["state"]) == [
        "run_id",
        "workflow",
        "status",
        "revision",
        "wake_at",
        "threads",
    ]
    short = {"run_id": "r", "workflow": "Frozen", "threads": [{"id": "main", "name": "main"}]}
    _, state = load(Frozen, document_of(short))
    assert state == State("r", "Frozen", threads=[Thread("main", "main")])


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values that have a shape of their own."""
    found = [path] if path else []
    free = {"result", "arg", "item", "value"}
    if isinstance(value, dict):
        for key, part in value.items():
            found += [] if key in free else paths_of(part, (*path, key))
    elif isinstance(value, list) and path[-1] != "notes":
        for i, part in enumerate(value):
            found += paths_of(part, (*path, i))
    return found


def json_path(path: tuple[Any, ...]) -> str:
    return "$.state" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def put(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    for part in path[:-1]:
        document = document[part]
    document[path[-1]] = value
    return document


def refusal(state: Any) -> str | None:
    """Why a state can't be used; whatever is taken can be written and read again."""
    try:
        order, loaded = load(Frozen, document_of(state))
        check_kept(loaded)  # as every driver does, when the state meets its definition
    except StateError as error:
        return str(error)
    assert load(Frozen, dump(order, loaded))[1] == loaded
    return None


SHAPES: list[Any] = [None, True, -1, 1.5, "", "nonsense", "2026-01-02T03:04:05", [], {}, [None], {"a": 1}, "9" * 100]


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize("path", paths_of(full_state()), ids=json_path)
def test_every_wrong_shape_in_a_state_is_refused_with_its_path(path: tuple[Any, ...]) -> None:
    refused = 0
    for wrong in SHAPES:
        state = full_state()
        put(state, path, wrong)
        error = refusal(state)
        refused += error is not None
        # Wherever the shape is right, the run may still lack its first thread.
        assert error is None or json_path(path) in error or "$.state.threads: a run that is" in error, (wrong, error)
    assert refused >= 6


@pytest.mark.parametrize(
    ("path", "wrong", "why"),
    [
        (("run_id",), 5, "expected a text, not 5"),
        (("revision",), -1, "expected a whole number from 0, not -1"),
        (("revision",), True, "expected a whole number from 0, not True"),
        (("status",), "x", "expected one of Resuming, Waiting, Paused, Finished, Failed, Cancelled, not 'x'"),
        (("wake_at",), "soon", "expected an ISO 8601 instant with a time zone, not 'soon'"),
        (("threads",), {}, "expected a list, not {}"),
        (("threads", 0), [], "expected an object, not []"),
        (("threads", 0, "events", 0, "handled"), 1, "expected true or false, not 1"),
        (("error",), {"a": 1}, "unknown key 'a'; known are type, message, step, attempts"),
        (("run_id",), [7] * 99, f"expected a text, not {str([7] * 99)[:57]}..."),
    ],
)
def test_a_refused_state_says_what_was_expected_and_what_was_found(path: tuple[Any, ...], wrong: Any, why: str) -> None:
    state = full_state()
    put(state, path, wrong)
    told = refusal(state)
    assert told is not None
    assert f"{json_path(path)}: {why}. This version of flowstmt" in told


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("exit", {"exit": "jump"}, "exit.exit: expected one of end, break, continue, return, failure, cancel, not 'jump'"),
        ("exit", {"exit": "failure"}, "exit: the key 'error' is missing"),
        ("exit", {"exit": "break", "catch": {"try": "t"}}, "exit.catch: the key 'case' is missing"),
        ("data", {"a": 1}, "data: expected an object with one of the keys saga, count, approvers, child, then"),
        ("data", [], "data: expected an object, not []"),
        ("data", {"count": 1}, "data: the key 'next' is missing"),
        ("data", {"count": 1, "index": []}, "data: the key 'next' is missing"),
    ],
)
def test_what_a_frame_keeps_has_a_shape(key: str, value: Any, why: str) -> None:
    state = full_state()
    state["threads"][0]["frames"][0][key] = value
    told = refusal(state)
    assert told is not None
    assert f"$.state.threads[0].frames[0].{why}" in told


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize(("index", "fits"), [({}, True), ({"a": 0}, True), ({"a": -1}, False), ([], False)])
def test_the_indexes_of_branches_are_kept_by_their_keys(index: Any, fits: bool) -> None:
    state = full_state()
    state["threads"][0]["frames"][2]["data"]["index"] = index
    told = refusal(state)
    assert (told is None) is fits
    assert told is None or "$.state.threads[0].frames[2].data.index" in told


@pytest.mark.parametrize("path", [(), *(path for path in paths_of(full_state()))], ids=json_path)
def test_an_unknown_key_in_any_record_of_a_state_is_refused_with_its_path(path: tuple[Any, ...]) -> None:
    state = full_state()
    record = state
    for part in path:
        record = record[part]
    if not isinstance(record, dict):
        return
    record["surprise"] = 1
    with pytest.raises(StateError, match="unknown key 'surprise'; known are ") as caught:
        check_kept(load(Frozen, document_of(state))[1])
    assert str(caught.value).startswith(f"run {state['run_id']!r}: {json_path(path)}:")


REQUIRED = [
    ((), ["run_id", "workflow"]),
    (("threads", 0), ["id", "name"]),
    (("threads", 0, "frames", 0), ["statement"]),
    (("threads", 0, "events", 0), ["name", "wait"]),
    (("threads", 0, "events", 0, "request"), ["name"]),
    (("error",), ["type", "message"]),
]


@pytest.mark.parametrize(("path", "key"), [(path, key) for path, keys in REQUIRED for key in keys])
def test_a_missing_key_without_a_default_is_told(path: tuple[Any, ...], key: str) -> None:
    state = full_state()
    record = state
    for part in path:
        record = record[part]
    del record[key]
    with pytest.raises(StateError) as caught:
        load(Frozen, document_of(state))
    assert f"{json_path(path)}: the key {key!r} is missing" in str(caught.value)


def test_missing_keys_of_a_state_take_their_defaults() -> None:
    state = {
        "run_id": "run-1",
        "workflow": "Frozen",
        "threads": [
            {"id": "main", "name": "main", "frames": [{"statement": "l"}], "events": [{"name": "e", "wait": "w"}]},
        ],
        "error": {"type": "E", "message": "m"},
    }
    request = {"name": "", "thread_id": None, "pc": None, "birth": None, "run_id": None, "setup_data": None}
    event = {"name": "e", "wait": "w", "type": "", "request": request, "status": "Setup", "handled": False}
    thread = {
        "id": "main",
        "name": "main",
        "status": "Resuming",
        "position": "",
        "event": None,
        "events": [{**event, "error": None, "due_at": None}],
        "pc": 0,
        "birth": "",
        "parent": None,
        "ready": 0,
        "since": None,
        "due_at": None,
        "attempt": 1,
        "error": None,
        "arg": None,
        "frames": [{"statement": "l", "index": 0, "item": None, "exit": None, "data": None}],
        "sagas": [],
    }
    loaded = asdict(load(Frozen, document_of(state))[1])
    del loaded["raw"]  # not saved
    assert loaded == {
        "run_id": "run-1",
        "workflow": "Frozen",
        "status": "Resuming",
        "revision": 0,
        "threads": [thread],
        "wake_at": None,
        "result": None,
        "error": {"type": "E", "message": "m", "step": "", "attempts": 1},
        "undo": [],
        "notes": [],
    }


def test_a_loaded_state_is_equal_to_the_one_that_was_saved_and_looks_like_it() -> None:
    state = fresh()
    _, loaded = load(Plain, dump(Plain([]), state))
    assert loaded == state
    assert repr(loaded) == repr(state)


@pytest.mark.parametrize("words", [WorkflowStatus, ThreadStatus, EventStatus, CheckpointType])
def test_a_status_is_saved_as_the_word_by_which_it_is_called(words: Any) -> None:
    assert [word.value for word in words] == list(words.__members__)


def test_a_live_run_has_one_main_and_each_id_once() -> None:
    state = full_state()
    state["threads"][0]["id"] = "other"
    with pytest.raises(StateError, match=r"\$\.state\.threads: a run that is Waiting needs a thread with the id 'main'"):
        load(Frozen, document_of(state))
    state = full_state()
    state["threads"] *= 2
    with pytest.raises(StateError, match=r"\$\.state\.threads: two live threads have one id: \['main', 'main'\]"):
        load(Frozen, document_of(state))
    state = full_state()
    state["threads"] = []
    state["status"] = "Finished"
    assert load(Frozen, document_of(state))[1].threads == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda state: setattr(state, "result", object()), r"\$\.state\.result"),
        (lambda state: setattr(state, "notes", [object()]), r"\$\.state"),
        (lambda state: setattr(state.threads[0], "arg", object()), r"\$\.state\.threads\[0\]\.arg"),
        (lambda state: state.threads[0].frames.append(Frame("x", item=object())), r"threads\[0\]\.frames\[0\]\.item"),
        (lambda state: setattr(state, "threads", None), r"\$\.state"),
        (lambda state: setattr(state, "workflow", "\ud800"), r"\$\.state"),
        (lambda state: setattr(state, "run_id", object()), r"\$\.state"),
    ],
)
def test_what_a_state_can_not_hold_is_refused_by_dump_with_its_path(change: Callable[[State], Any], path: str) -> None:
    state = fresh()
    change(state)
    with pytest.raises(StateError, match=path):
        dump(Plain([]), state)


@pytest.mark.parametrize("state", [None, {}, "state", State])
def test_dump_takes_a_state(state: Any) -> None:
    with pytest.raises(StateError, match="expected a State, not "):
        dump(Plain([]), state)


# --- bytes ---


SCRIPT = """
import dataclasses, sys
from tests.test_snapshots import *
order = holder(dict[str, Any])({})
words = {"word%d" % i for i in range(50)}
cls = dataclasses.make_dataclass("Sets", [
    ("plain", set[str]), ("receipt", Receipt), ("parcel", Parcel), ("lines", list[Line]), ("branch", Branch),
    ("pairs", dict[str, frozenset[str]]), ("options", list[Options | set[str]]), ("point", Point),
], bases=(Base,))
order = cls(words, Receipt(tags=words, lines=[Line("a", 1, words)]), Parcel(words), [Line("b", 1, words)],
            Branch(words, [Branch(words)]), {"a": frozenset(words)}, [words], Point(1, "", frozenset(words)))
state = fresh()
state.threads[0].arg = Line("c", 1, words)
state.threads[0].frames.append(Frame("x", 0, words))
sys.stdout.buffer.write(dump(order, state))
"""


def test_the_same_run_gives_the_same_bytes_in_every_process() -> None:
    blobs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            check=True,
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(blobs) == 1
    assert blobs.pop().count(b'"word49"') == 12


def test_a_snapshot_is_compact_and_has_its_keys_in_order() -> None:
    blob = dump(Frozen([]), fresh())
    assert list(json.loads(blob)) == ["format", "workflow", "version", "data", "state"]
    assert blob == json.dumps(json.loads(blob), separators=(",", ":")).encode()


def test_births_are_the_same_in_every_release() -> None:
    # They are in idempotency keys and in requests that others hold: another hash would run their actions twice.
    main = State.new("run-1", "Order").threads[0].birth
    assert main == "4f8891d1d633b185"
    assert birth_of(main, 3, "ship:7") == "41c2065bc544d763"


def test_dump_changes_nothing() -> None:
    order, state = Plain([Line("a", 1, {"b"})]), fresh()
    before = (repr(order), repr(state))
    assert dump(order, state) == dump(order, state)
    assert (repr(order), repr(state)) == before


# --- items and args: in their types after a reload, and theirs to change ---


@dataclass
class Cart:
    lines: list[Line] = field(default_factory=lambda: [Line("a"), Line("b", 2, {"x"})])
    seen: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(
            ForEach(
                "lines",
                lambda: self.lines,
                Step("touch", self.touch),
                Go("ship", Step("pack", self.touch), id=lambda line: line.sku, arg=lambda line: line),
                Go("bill", Step("write", self.touch), id=lambda line: line.sku),
                Step("look", self.look),
            ),
            Join("all", "ship", "bill"),
            Return(lambda: self.seen),
        )

    def touch(self, line: Line) -> None:
        assert type(line) is Line
        assert type(line.tags) is set
        line.amount += 10
        line.tags.add("touched")

    def look(self, line: Line) -> None:
        self.seen.append(f"{line.sku} {line.amount}")


def trips(cls: Any, make: Callable[[], Any]) -> Any:
    """Run a workflow to its end, through JSON at every checkpoint; and once without, for comparison."""
    plain, plain_state = make(), fresh()
    resume(plain, plain_state, now=NOW)
    order, state = make(), fresh()
    while state.status == "Resuming":
        resume(order, state, now=NOW, max_steps=1)
        blob = dump(order, state)
        order, state = load(cls, blob)
        assert dump(order, state) == blob
    assert dump(order, state) == dump(plain, plain_state)
    return order, state


def test_items_and_args_keep_their_types_and_their_changes() -> None:
    order, state = trips(Cart, Cart)
    assert state.result == ["a 11", "b 12"]
    assert order.lines == [Line("a"), Line("b", 2, {"x"})]  # the item is the thread's own copy


@dataclass
class Untyped:
    items: Any = None
    seen: list[Any] = field(default_factory=list)

    def definition(self) -> Statement:
        return ForEach("items", lambda: self.items, Step("see", self.see), Step("again", self.again))

    def see(self, item) -> None:
        self.seen.append(item)

    def again(self, item) -> None:
        self.seen.append(item)


def test_items_that_nobody_annotates_are_json_values_before_and_after_a_reload() -> None:
    order = Untyped([Line("a", 1, {"b"}), (1, 2), NOW, b"\xff", {1: None}, 10**30, "NaN"])
    resume(order, fresh())
    line = {"sku": "a", "amount": 1, "tags": ["b"]}
    once = [line, [1, 2], "2026-01-02T03:04:05.678901Z", "_w==", {"1": None}, 10**30, "NaN"]
    assert order.seen == [item for item in once for _ in range(2)]


@pytest.mark.parametrize("item", [object(), math.nan, [math.inf], "\ud800", loop, deep, Line("a", None), lambda: 1])  # type: ignore[arg-type] # wrong on purpose
def test_an_item_that_can_not_make_the_trip_is_refused_when_it_is_handed_in(item: Any) -> None:
    order, state = Untyped([item]), fresh()
    with pytest.raises(StepError, match="ForEach 'items': its item can't be kept: "):
        resume(order, state)
    assert state == fresh()


def test_an_item_that_is_no_value_of_the_annotated_type_is_refused_when_it_is_handed_in() -> None:
    order, state = Cart([{"sku": 1}]), fresh()  # type: ignore[list-item] # wrong on purpose
    with pytest.raises(StepError, match="its item can't be kept: not of type Line: sku: Input should be a valid string"):
        resume(order, state)
    assert state == fresh()


def test_a_saved_item_that_no_longer_fits_its_type_is_a_state_error_with_its_path() -> None:
    order, state = Cart(), fresh()
    resume(order, state, max_steps=1)
    blob = dump(order, state)
    for old, path in (
        (b'"item":{"sku":"a"', r"\$\.state\.threads\[0\]\.frames\[0\]\.item: .*sku"),
        (b'"arg":{"sku":"a"', r"arg"),
    ):
        assert old in blob
        loaded, state = load(Cart, blob.replace(old, old.replace(b'"a"', b"1")))
        before = dump(loaded, state)
        with pytest.raises(StateError, match=path):
            resume(loaded, state)
        assert dump(loaded, state) == before


def test_a_result_is_what_a_reload_would_give() -> None:
    @dataclass
    class Ends:
        value: Any = None

        def definition(self) -> Statement:
            return Return(lambda: self.value)

    for value, result in (
        ((1, {2}), [1, [2]]),
        (NOW, "2026-01-02T03:04:05.678901Z"),
        (2**70, 2**70),
        (Line("a"), {"sku": "a"}),
    ):
        order, state = Ends(), fresh()
        object.__setattr__(order, "value", value)
        resume(order, state)
        assert state.result == result or (isinstance(result, dict) and state.result.items() >= result.items())
        order.value = None
        assert load(Ends, dump(order, state))[1] == state


# --- random data ---


texts = st.text(st.characters(codec="utf-8"), max_size=8)
lines = st.builds(Line, texts, st.integers(), st.sets(texts, max_size=3))
values: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    float: st.floats(allow_nan=False),
    str: texts,
    bytes: st.binary(max_size=8),
    datetime: st.datetimes(timezones=st.just(UTC)),
    timedelta: st.timedeltas(),
    UUID: st.uuids(),
    Color: st.sampled_from(Color),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    int | None: st.none() | st.integers(),
    list[Line]: st.lists(lines, max_size=3),
    dict[str, set[int]]: st.dictionaries(texts, st.sets(st.integers(), max_size=3), max_size=3),
    tuple[bytes, ...]: st.lists(st.binary(max_size=3), max_size=3).map(tuple),
    Receipt: st.builds(
        Receipt,
        number=st.integers(),
        tags=st.sets(texts, max_size=3),
        scan=st.binary(max_size=5),
        weight=st.floats(allow_nan=False),
        lines=st.lists(lines, max_size=2),
    ),
}
Everything: Any = dataclasses.make_dataclass(
    "Everything", [(f"field{i}", kind) for i, kind in enumerate(values)], bases=(Base,)
)


@given(st.builds(Everything, *values.values()))
def test_random_data_comes_back_as_it_was(order: Any) -> None:
    blob = dump(order, fresh())
    loaded, state = load(Everything, blob)
    assert loaded == order
    assert dump(loaded, state) == blob


@given(st.lists(lines.filter(lambda line: line.sku), max_size=4, unique_by=lambda line: line.sku))
def test_random_items_come_back_as_they_were(items: list[Line]) -> None:
    order, state = trips(Cart, lambda: Cart([Line(item.sku, item.amount, set(item.tags)) for item in items]))
    assert order.lines == items
    assert state.result == [f"{item.sku} {item.amount + 10}" for item in items]


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.usefixtures("odd_states")
@given(st.lists(plain, max_size=4), plain)
def test_random_json_values_come_back_as_they_were(items: list[Any], value: Any) -> None:
    order, state = Untyped(items), fresh()
    resume(order, state)
    assert order.seen == [item for item in items for _ in range(2)]
    loaded, _ = load(Untyped, dump(order, state))
    assert loaded.seen == order.seen
    state.threads.append(Thread("x", "x", arg=value, frames=[Frame("f", 0, value)]))
    again = load(Untyped, dump(order, state))[1]
    assert again == state


def test_a_loaded_run_that_waits_takes_its_callback() -> None:
    @dataclass
    class Order:
        receipt: Receipt | None = None

        def definition(self) -> Statement:
            return Wait("payment", On("paid", into="receipt"))

    order, state = Order(), fresh()
    resume(order, state)
    order, state = load(Order, dump(order, state))
    handle_callback("paid", order, state, b'{"number":4,"tags":["b","a"],"scan":"_w=="}')
    assert order.receipt == Receipt(number=4, tags={"a", "b"}, scan=b"\xff")
    order, state = load(Order, dump(order, state))
    assert resume(order, state) == "Finished"


@dataclass
class Pet:
    name: str


@dataclass
class Hound(Pet):
    breed: str = "poodle"


@dataclass
class Zoo:
    pet: Pet
    pets: list[Pet] = field(default_factory=list)
    either: Hound | Pet | None = None

    def definition(self) -> Statement:
        return S()


@pytest.mark.parametrize(("zoo", "name"), [(Zoo(Hound("rex")), "pet"), (Zoo(Pet("ann"), [Pet("bob"), Hound("rex")]), "pets")])
def test_a_subclass_whose_fields_would_be_lost_is_refused(zoo: Zoo, name: str) -> None:
    with pytest.raises(StateError, match=rf"Zoo\.{name} can't be saved.*expected exactly Pet, not Hound"):
        dump(zoo, fresh())


def test_a_union_writes_the_class_that_it_holds() -> None:
    zoo = Zoo(Pet("ann"), either=Hound("rex", "pug"))
    assert load(Zoo, dump(zoo, fresh()))[0] == zoo


@pytest.mark.usefixtures("odd_states")
@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda state: state["threads"][0].update(frames=[{"statement": "l", "exit": "Break"}]), "threads[0].frames[0].exit"),
        (lambda state: state["threads"][0].update(frames=[{"statement": "l", "data": 1}]), "threads[0].frames[0].data"),
        (lambda state: state.update(undo=["charge"]), "undo[0]"),
    ],
)
def test_what_statements_can_not_have_kept_is_refused_when_the_state_meets_its_definition(change: Any, where: str) -> None:
    @dataclass
    class Order:
        def definition(self) -> Statement:
            return Step("charge", lambda: None)

    document = json.loads(dump(Order(), State.new("run-1", "Order")))
    change(document["state"])
    order, state = load(Order, json.dumps(document).encode())
    with pytest.raises(StateError, match=re.escape(f"$.state.{where}: expected an object")):
        resume(order, state)
    assert dump(order, state) == dump(*load(Order, json.dumps(document).encode()))
