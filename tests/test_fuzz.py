"""Spoilt snapshots, payloads and requests: nothing but a FlowstmtError, no hang, no blow-up, and refusals change nothing.

``FLOWSTMT_EXAMPLES=20000 pytest tests/test_fuzz.py`` looks further than the small, fixed sample of every day.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st
from pydantic import Field

from flowstmt import (
    Break,
    CallbackError,
    CallbackRequest,
    FlowstmtError,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    SetupError,
    Sleep,
    State,
    Step,
    Timeout,
    Wait,
    WaitFor,
    dump,
    handle_callback,
    load,
    resume,
)

EXAMPLES = int(os.environ.get("FLOWSTMT_EXAMPLES", "0"))
fuzzed = settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=bool(EXAMPLES),
    phases=[phase for phase in Phase if phase is not Phase.explain],
)

START = datetime(2030, 1, 1, tzinfo=UTC)


class Colour(Enum):
    red = "red"
    blue = "blue"


@dataclass
class Line:
    sku: str
    price: Decimal = Decimal(1)
    count: Annotated[int, Field(ge=1, le=9)] = 1


class Page:
    """Set up and torn down outside; now and then it fails."""

    def setup(self, request: CallbackRequest) -> str:
        if request.pc == 11:
            raise OSError("no page")
        return "page"

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        if request.setup_data != "page":
            raise OSError("which page?")


@dataclass
class Order:
    """A bit of everything."""

    lines: list[Line] = field(default_factory=lambda: [Line("tea"), Line("rice", Decimal("2.50"))])
    paid: int = 0
    colour: Colour = Colour.red
    due: date | None = None
    owner: UUID | None = None
    tags: set[str] = field(default_factory=set)
    extra: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def definition(self):
        return S(
            Go("ship", For("tries", Wait("courier", On("there", self.there, Break()), On("lost", via=Page())))),
            ForEach(
                "lines",
                self.lines,
                Go("pack", Step("wrap", self.wrap), Sleep("dry", timedelta(hours=1)), id=lambda line: line.sku),
                If("dear", lambda line: line.price > 2, Step("insure", self.insure)),
            ),
            Wait(
                "payment",
                On("paid", self.pay, via=Page()),
                On("cancel", Return("cancelled")),
                Timeout("late", timedelta(days=1), Return("late")),
            ),
            Join("packed", "pack"),
            WaitFor("enough", lambda: self.paid > 10, self.close),
            Wait("delivery", On("delivered", into="due")),
            Return(lambda: self.log),
        )

    def there(self, line: Line) -> str:
        self.log.append(line.sku)
        return line.sku

    def wrap(self, line: Line) -> None:
        line.count = min(line.count + 1, 9)
        self.log.append(f"wrapped {line.sku}")

    def insure(self, line: Line) -> None:
        self.extra[line.sku] = "insured"

    def pay(self, amount: Annotated[int, Field(gt=0)]) -> int:
        self.paid += amount
        return self.paid

    def close(self) -> None:
        self.log.append("closed")


def corpus() -> list[bytes]:
    """Snapshots from the life of an order."""
    found = []
    order, state = Order(), State.new("order", "Order", START)

    def save(kind: object) -> None:
        found.append(dump(order, state))

    save("birth")
    resume(order, state, save, now=START)
    for hours, name, payload in ((0, "there", {"sku": "x"}), (2, "paid", 20), (3, "delivered", "2030-01-02")):
        handle_callback(name, order, state, payload, now=START + timedelta(hours=hours))
        save("callback")
        resume(order, state, save, now=START + timedelta(hours=hours))
    assert state.status == "Finished"
    failing, state = Order(), State.new("order", "Order", START)
    state.threads[0].pc = 9  # so that a setup fails
    with pytest.raises(SetupError):
        resume(failing, state, lambda kind: found.append(dump(failing, state)), now=START)
    return list(dict.fromkeys(found))


CORPUS = corpus()
DOCUMENTS = [orjson.loads(blob) for blob in CORPUS]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _paths(inner, (*path, key))


WORDS = sorted(
    {str(part) for document in DOCUMENTS for path in _paths(document) for part in path}
    | {
        *("Executing", "Resuming", "WaitingEvent", "WaitingCondition", "WaitingTime", "Ended", "Waiting", "Finished"),
        *("PendingSetup", "Setup", "SetupError", "PendingTeardown", "TeardownError", "Paused", "Failed", "Cancelled"),
        *("main", "ship", "pack", "pack:tea", "courier", "lines", "wrap", "dry", "payment", "packed", "enough", "delivery"),
        *("2030-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2030-01-01T00:00:00", "\ud83d"),
    }
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.sampled_from((2**63, -(2**63) - 1, 2**64, 10**30, 1e308, -0.0, 5e-324)),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(WORDS),
    st.text(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def spoilt_documents(draw: st.DrawFn) -> bytes:
    """A snapshot with a few places changed: another value, one less, one more, one from elsewhere."""
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 2, 3)))):
        paths = [path for path in _paths(document) if path]
        *way, last = draw(st.sampled_from(paths))
        holder = document
        for key in way:
            holder = holder[key]
        what = draw(st.sampled_from(("value", "leave out", "word", "from elsewhere", "twice", "new key", "deep")))
        if what == "leave out":
            del holder[last]
        elif what == "from elsewhere":
            other: Any = draw(st.sampled_from(DOCUMENTS))
            for key in draw(st.sampled_from([path for path in _paths(other) if path])):
                other = other[key]
            holder[last] = copy.deepcopy(other)
        elif what == "twice" and isinstance(holder, list):
            holder.insert(0, copy.deepcopy(holder[last]))
        elif what == "new key" and isinstance(holder, dict):
            holder[draw(st.sampled_from(WORDS))] = draw(values)
        elif what == "word":
            holder[last] = draw(st.sampled_from(WORDS))
        elif what == "deep":
            deep: Any = []
            for _ in range(draw(st.sampled_from((5, 150, 190)))):
                deep = [deep]
            holder[last] = deep
        else:
            holder[last] = draw(values)
        event(what)
    try:
        return orjson.dumps(document)
    except TypeError:
        # Whole numbers past 64 bits, half characters: other writers of JSON write them.
        return json.dumps(document).encode()


@st.composite
def spoilt_bytes(draw: st.DrawFn) -> bytes:
    """A snapshot with a few bytes changed."""
    blob = bytearray(draw(st.sampled_from(CORPUS)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(blob)))
        what = draw(st.sampled_from(("change", "insert", "leave out", "cut off", "twice")))
        if what == "change" and at < len(blob):
            blob[at] = draw(st.integers(0, 255))
        elif what == "insert":
            blob[at:at] = draw(st.binary(max_size=4) | st.sampled_from(HARD_BYTES))
        elif what == "leave out":
            del blob[at : at + draw(st.integers(1, 9))]
        elif what == "cut off":
            del blob[at:]
        else:
            blob[at:at] = blob[at : at + 40]
    return bytes(blob)


HARD_BYTES = (b"[" * 500, b'{"a":' * 300, b"9" * 5000, b"\xff", b"\x00")

spoilt = st.one_of(spoilt_documents(), spoilt_bytes(), st.sampled_from(CORPUS))
payloads = st.one_of(
    values,
    values.map(lambda value: orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS) if fits(value) else b"{}"),
    st.binary(max_size=12),
    st.sampled_from((*HARD_BYTES, b'{"sku": "a", "count": 1e999}', b'"\\ud800"')),
    st.sampled_from(("\ud800", float("nan"), object(), set)),
)
texts = st.none() | st.sampled_from(WORDS) | st.text(max_size=3)
requests = st.one_of(
    st.sampled_from(("paid", "there", "lost", "cancel", "late", "delivered", "", "nothing")),
    st.builds(
        CallbackRequest,
        name=st.sampled_from(("paid", "there", "lost", "cancel", "late", "delivered")) | values,
        thread_id=texts | values,
        pc=st.none() | st.integers(-1, 20) | values,
        birth=texts | values,
        run_id=st.none() | st.just("order") | values,
        setup_data=texts,
    ),
)


def fits(value: Any) -> bool:
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


@contextmanager
def limits() -> Iterator[None]:
    """Ten seconds of work, whatever else the machine does, and memory for what a few kilobytes of JSON may take."""

    def out_of_time(*_: Any) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGPROF, out_of_time)
    signal.setitimer(signal.ITIMER_PROF, 10)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000  # kilobytes


@pytest.mark.usefixtures("odd_states")
@fuzzed
@given(blob=spoilt, calls=st.lists(st.tuples(requests, payloads), max_size=3))
def test_whatever_is_loaded_and_called_gives_a_flowstmt_error_or_a_run_that_goes_on(blob: bytes, calls: list[Any]):
    note(f"snapshot: {blob!r}")
    with limits():
        try:
            order, state = load(Order, blob)
        except FlowstmtError as error:
            event(f"load: {type(error).__name__}")
            return
        event("loaded")
        try:
            first = dump(order, state)
        except FlowstmtError:
            event("too deep")  # by a few levels, that dump keeps free so that whatever it writes can be read
            return
        # What was read can be read again, and is the same.
        assert dump(*load(Order, first)) == first
        now = START + timedelta(hours=1)
        try:
            for request, payload in calls:
                before = dump(order, state)
                try:
                    handle_callback(request, order, state, payload, now=now)
                    event("taken")
                except FlowstmtError as error:
                    assert dump(order, state) == before, "a refused callback has changed the run"
                    event(f"refused: {type(error).__name__}")
                    if not isinstance(error, CallbackError):
                        break
                resume(order, state, now=now, max_steps=50)
            status = resume(order, state, now=now, max_steps=50)
        except FlowstmtError as error:
            event(f"resume: {type(error).__name__}")
            note(str(error))
            return
        event(f"went on: {status}")
        assert dump(*load(Order, dump(order, state))) == dump(order, state)


@fuzzed
@given(payload=payloads, request=requests)
def test_whatever_a_callback_brings_is_taken_or_refused_without_a_trace(payload: Any, request: Any):
    for blob in CORPUS:
        order, state = load(Order, blob)
        before = dump(order, state)
        with limits():
            try:
                handle_callback(request, order, state, payload, now=START)
            except FlowstmtError:
                assert dump(order, state) == before
            else:
                assert dump(*load(Order, dump(order, state))) == dump(order, state)
