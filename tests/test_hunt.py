"""Bugs of several kinds are planted; they are found, shrunk to the shortest script, and told as a test that runs."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir, storage_directory

from flowstmt import (
    On,
    RefusedError,
    Return,
    S,
    State,
    Statement,
    Step,
    Timeout,
    UnknownEventError,
    Wait,
    current,
)
from flowstmt.testing import Advance, Callback, CrashError, NotDeterministicError, explore
from flowstmt.testing.hunt import hunt

DAY = timedelta(days=1)


class Size(Enum):
    SMALL = "S"
    LARGE = "L"


@dataclass(frozen=True)
class Item:
    size: Size
    number: int = 1


@dataclass
class Bank:
    """Charges once per key, if it is given one."""

    charges: list[str] = field(default_factory=list)

    def charge(self, key: str) -> int:
        if key not in self.charges:
            self.charges.append(key)
        return len(self.charges)


@dataclass
class Charges:
    """Charges without a key."""

    item: Item | None = None
    receipt: int = 0

    def definition(self) -> Statement:
        return S(
            Wait("item", On("add", into="item")),
            Wait("payment", On("pay"), Timeout("late", 2 * DAY, Return("late"))),
            Step("charge", self.charge, into="receipt"),
            Wait("end", On("bye")),
        )

    def charge(self) -> int:
        return current().deps.charge(f"charge {len(current().deps.charges)}")


def charge_once(order: Charges) -> int:
    return current().deps.charge(current().idempotency_key)


@dataclass
class Hides:
    """Keeps something in an attribute that is in no snapshot."""

    seen: str = ""

    def definition(self) -> Statement:
        return S(Step("look", self.look), Wait("go", On("go")), Step("tell", self.tell, into="seen"), Wait("end", On("bye")))

    def look(self) -> None:
        self.hidden = "tea"

    def tell(self) -> str:
        return getattr(self, "hidden", "nothing")


def tell_all(order: Hides) -> str:
    return "tea"


@dataclass
class Halves:
    """Does one thing, awaits, and notes that it was done: half of it may be done twice."""

    seats: int = 0

    def definition(self) -> Statement:
        return S(Wait("go", On("go")), Step("book", self.book, into="seats"), Wait("end", On("bye")))

    async def book(self) -> int:
        charges = current().deps.charges
        if "booked" not in charges:
            charges.append("seat")
            await asyncio.sleep(0)
            charges.append("booked")
        return charges.count("seat")


async def book_whole(order: Halves) -> int:
    await asyncio.sleep(0)
    return current().deps.charge(current().idempotency_key)


@dataclass
class Touches:
    """A handler that refuses, but has written something where nobody puts it back."""

    def definition(self) -> Statement:
        return S(Wait("go", On("go")), Wait("ask", On("ask", self.ask)), Wait("end", On("bye")))

    def ask(self, number: int) -> None:
        if number > 9:
            current().state.notes.append("asked for too much")
            raise RefusedError("too much")


def ask_and_touch_nothing(order: Touches, number: int) -> None:
    if number > 9:
        raise RefusedError("too much")


@dataclass
class Ships:
    """Ships whatever happens: paid or not, once the wait is over."""

    paid: int = 0
    parcel: str = ""

    def definition(self) -> Statement:
        return S(
            Wait("go", On("go")),
            Wait("payment", On("pay", into="paid"), Timeout("late", 2 * DAY)),
            Step("ship", self.ship, into="parcel"),
        )

    def ship(self) -> str:
        return "parcel"


def ship_if_paid(order: Ships) -> str:
    return "parcel" if order.paid else ""


def paid_before_it_ships(order: Ships, state: State) -> bool:
    return not order.parcel or order.paid > 0


@dataclass
class Breaks:
    """A handler that can't do with every payload what it says."""

    share: int = 0

    def definition(self) -> Statement:
        return S(Wait("go", On("go")), Wait("split", On("split", self.split)), Wait("end", On("bye")))

    def split(self, by: int) -> None:
        self.share = 100 // by


def split_among_any(order: Breaks, by: int) -> None:
    order.share = 100 // max(by, 1)


@dataclass(frozen=True, eq=False)
class Planted:
    """A bug, what is mended to mend it, and how it should be told."""

    make: type[Any]
    callbacks: st.SearchStrategy[Callback]
    shortest: list[Callback | Advance]
    where: str
    what: str
    mend: tuple[str, Callable[..., Any]]
    deps: Callable[[], Any] | None = None
    invariant: Callable[[Any, State], Any] | None = None


def events(*names: str) -> st.SearchStrategy[Callback]:
    return st.sampled_from([Callback(name) for name in (*names, "bye", "nobody")])


def payloads(event: str, payload: st.SearchStrategy[Any]) -> st.SearchStrategy[Callback]:
    return st.builds(Callback, st.just(event), payload)


TIMES = st.sampled_from([DAY, 2 * DAY, 3 * DAY])

PLANTED = [
    Planted(
        Charges,
        events("pay") | payloads("add", st.builds(Item, st.sampled_from(Size), st.integers(1, 9))),
        [Callback("add", Item(Size.SMALL)), Callback("pay")],
        "killed after the effect of action at 'charge' (thread main)",
        "'receipt': 1}, after the crash {'item': {'size': 'S', 'number': 1}, 'receipt': 2}",
        ("charge", charge_once),
        deps=Bank,
    ),
    Planted(
        Hides,
        events("go"),
        [Callback("go")],
        "killed after save afterStep",
        "data: undisturbed {'seen': 'tea'}, after the crash {'seen': 'nothing'}",
        ("tell", tell_all),
    ),
    Planted(
        Halves,
        events("go"),
        [Callback("go")],
        "killed at await 1 of action at 'book' (thread main)",
        "data: undisturbed {'seats': 1}, after the crash {'seats': 2}",
        ("book", book_whole),
        deps=Bank,
    ),
    Planted(
        Touches,
        events("go") | payloads("ask", st.integers()),
        [Callback("go"), Callback("ask", 10, refused=RefusedError)],
        "without a crash",
        "was refused, but changed the run",
        ("ask", ask_and_touch_nothing),
    ),
    Planted(
        Ships,
        events("go") | payloads("pay", st.integers(1, 9)),
        [Callback("go"), Advance(2 * DAY)],
        "without a crash",
        "the invariant does not hold at save afterStep",
        ("ship", ship_if_paid),
        invariant=paid_before_it_ships,
    ),
    Planted(
        Breaks,
        events("go") | payloads("split", st.integers(0, 2)),
        [Callback("go"), Callback("split", 0)],
        "without a crash",
        "ZeroDivisionError",
        ("split", split_among_any),
    ),
]

every_bug = pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.make.__name__)


@cache
def hunted(bug: Planted) -> CrashError:
    with pytest.raises(CrashError) as caught:
        hunt(bug.make, bug.callbacks, TIMES, deps=bug.deps, invariant=bug.invariant)
    return caught.value


def script_of(block: str) -> list[Callback | Advance]:
    """What the test that is printed hands to explore."""
    scripts: list[Any] = []
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    namespace["explore"] = lambda make, script, **rest: scripts.append(script)
    run(namespace)
    return scripts[0]


def run(namespace: dict[str, Any]) -> None:
    (test,) = (value for name, value in namespace.items() if name.startswith("test_"))
    test()


def pasted(block: str) -> None:
    namespace: dict[str, Any] = {}
    exec(block, namespace)
    run(namespace)


@pytest.mark.usefixtures("odd_states")
@every_bug
def test_a_planted_bug_is_hunted_down_to_the_shortest_script(bug: Planted):
    error = hunted(bug)
    message, _, block = str(error).partition("As a test:\n\n")
    assert message.startswith(bug.where)
    assert bug.what in message.splitlines()[0]
    assert script_of(block) == bug.shortest


@pytest.mark.usefixtures("odd_states")
@every_bug
def test_the_test_that_is_printed_fails_with_the_same_error_and_passes_once_the_bug_is_mended(
    bug: Planted, monkeypatch: pytest.MonkeyPatch
):
    error = hunted(bug)
    block = str(error).partition("As a test:\n\n")[2]
    with pytest.raises(type(error.__cause__ or error)) as caught:
        pasted(block)
    assert bug.what in str(caught.value) or bug.what == type(caught.value).__name__
    if bug.where != "without a crash":
        assert str(caught.value) == str(error)
    monkeypatch.setattr(bug.make, *bug.mend)
    pasted(block)


def test_the_test_that_is_printed_is_a_file_that_pytest_runs(tmp_path: Path):
    (tmp_path / "test_pasted.py").write_text(str(hunted(PLANTED[0])).partition("As a test:\n\n")[2])
    root = Path(__file__).parent.parent
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", root / "pyproject.toml", "--rootdir", root, tmp_path / "test_pasted.py"],
        check=False,
        capture_output=True,
        text=True,
        cwd=root,
    )
    assert "test_a_run_killed_after_the_effect_of_action_at_charge" in ran.stdout
    assert "CrashError: killed after the effect of action at 'charge' (thread main)" in ran.stdout
    assert ran.returncode == 1


def test_the_same_seed_draws_the_same_scripts_and_another_one_others():
    def drawn(seed: int) -> list[Any]:
        scripts: list[Any] = []

        def make() -> Hides:
            scripts.append(None)
            return Hides()

        def note(callback: Callback) -> Callback:
            scripts.append(callback)
            return callback

        calls = payloads("nobody", st.integers()).map(note)
        hunt(make, calls, examples=10, seed=seed)
        return scripts

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hides, "tell", tell_all)
        assert drawn(0) == drawn(0) != drawn(1)


def test_a_hunt_that_finds_nothing_says_what_it_has_tried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Ships, "ship", ship_if_paid)
    found = hunt(
        Ships,
        events("go") | payloads("pay", st.integers(1, 9)),
        st.builds(Advance, TIMES),
        invariant=paid_before_it_ships,
        examples=40,
        length=4,
    )
    assert found.scripts == 40
    assert found.points > 200
    assert set(found.accepted) == {"go", "pay"}
    assert set(found.refused) == {"go", "pay", "bye", "nobody"}


def test_the_same_must_be_refused_after_a_crash():
    doors: list[str] = []

    @dataclass
    class Opens:
        def definition(self) -> Statement:
            return Wait("door", On("open", self.open))

        def open(self) -> None:
            if doors:
                raise RefusedError("open already")
            doors.append("open")

    def make() -> Opens:
        doors.clear()
        return Opens()

    with pytest.raises(CrashError, match=r"killed after the effect of handler .* finishing raised RefusedError: open already"):
        hunt(make, st.just(Callback("open")))


def test_what_is_no_failure_of_a_script_is_raised_as_it_is():
    def make() -> Any:
        raise LookupError("no workflow today")

    with pytest.raises(LookupError, match="no workflow today"):
        hunt(make, events("go"))
    with pytest.raises(TypeError, match=r"callbacks must give Callback, .* but an int was drawn"):
        hunt(Hides, st.just(5))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="hunt finds out by itself what is refused: leave out refused="):
        hunt(Hides, st.just(Callback("nobody", refused=UnknownEventError)))
    with pytest.raises(TypeError, match="deps must be a function"):
        hunt(Hides, events("go"), deps=5)  # type: ignore[arg-type]


def test_a_difference_that_no_crash_made_is_told_as_such():
    made: list[int] = []

    @dataclass
    class Counts:
        n: int = 0

        def definition(self) -> Statement:
            return Step("count", lambda: len(made), into="n")

    def make() -> Counts:
        made.append(1)
        return Counts()

    for search in (lambda: hunt(make, events("go")), lambda: explore(make)):
        with pytest.raises(NotDeterministicError, match=r"make\(\), deps\(\) or an action is not deterministic.*data: first"):
            search()


def test_the_search_stops_after_so_many_plays_with_the_shortest_script_found_by_then(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("flowstmt.testing.hunt._PLAYS", 0)
    monkeypatch.setattr("flowstmt.testing.shrinking._PLAYS", -1)
    rough = script_of(str(hunted.__wrapped__(PLANTED[4])).partition("As a test:\n\n")[2])
    assert len(rough) >= 2


def test_a_directory_that_hypothesis_has_already_is_used_and_any_other_setting_is_left(tmp_path: Path):
    def directory() -> Any:
        found: Any = storage_directory()
        return getattr(found, "path", found)  # the path itself, in older releases

    before = directory()
    try:
        for home in (tmp_path, tmp_path / "none yet"):
            set_hypothesis_home_dir(home)
            hunt(Ships, events("go"), examples=2, length=1)
            assert directory() == home
        assert not home.exists()
    finally:
        set_hypothesis_home_dir(before)


def test_nothing_is_written_into_the_working_directory(tmp_path: Path):
    script = """
from dataclasses import dataclass
from hypothesis import strategies as st
from flowstmt import On, Wait
from flowstmt.testing import Callback
from flowstmt.testing.hunt import hunt

@dataclass
class Order:
    paid: int = 0
    def definition(self):
        return Wait("payment", On("paid", into="paid"))

print(hunt(Order, st.builds(Callback, st.just("paid"), st.integers()), examples=5).scripts)
"""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert ran.stdout == "5\n"
    assert list(tmp_path.iterdir()) == []


def test_hypothesis_is_imported_by_nothing_else_and_missed_by_its_name(monkeypatch: pytest.MonkeyPatch):
    script = "import sys, flowstmt.testing; print('hypothesis' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert ran.stdout == "False\n"
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "flowstmt.testing.hunt")
    with pytest.raises(ImportError, match=r"pip install 'flowstmt\[testing\]'"):
        importlib.import_module("flowstmt.testing.hunt")


# --- explore shrinks and prints too ---


def test_a_script_that_fails_is_shrunk_by_explore_and_what_is_refused_is_found_out_anew():
    script: list[Callback | Advance] = [
        Advance(DAY),
        Callback("nobody", refused=UnknownEventError),
        Callback("add", Item(Size.LARGE, 3)),
        Callback("add", Item(Size.LARGE, 4), refused=RefusedError.__mro__[1]),
        Advance(DAY),
        Callback("pay"),
        Callback("bye"),
    ]
    with pytest.raises(CrashError) as caught:
        explore(Charges, script, deps=Bank)
    block = str(caught.value).partition("As a test:\n\n")[2]
    assert script_of(block) == [Callback("add", Item(Size.LARGE, 4)), Callback("pay")]
    assert (
        block
        == """from flowstmt.testing import Callback, explore
from tests.test_hunt import Bank, Charges, Item, Size


def test_a_run_killed_after_the_effect_of_action_at_charge():
    explore(
        Charges,
        [
            Callback("add", Item(size=Size.LARGE, number=4)),
            Callback("pay"),
        ],
        deps=Bank,
        kill_at="after the effect of action at 'charge' (thread main)",
    )
"""
    )


def test_what_explore_raises_without_a_crash_has_the_shortest_script_as_a_note():
    script: list[Any] = [Advance(DAY), Callback("go"), Callback("bye", refused=RefusedError.__mro__[1]), Advance(3 * DAY)]
    with pytest.raises(AssertionError, match="the invariant does not hold") as caught:
        explore(Ships, script, invariant=paid_before_it_ships)
    _, note = caught.value.__notes__
    assert note.startswith("explore: as a test, with the shortest script:\n\n")
    assert script_of(note.partition("\n\n")[2]) == [Callback("go"), Advance(3 * DAY)]


def test_a_run_is_killed_at_one_point_only_or_everywhere_if_it_has_it_no_more():
    plays: list[Ships] = []

    def make() -> Ships:
        plays.append(Ships())
        return plays[-1]

    found = explore(make, [Callback("go"), Callback("pay", 5)])
    assert len(set(found.points)) == len(found.points)
    assert "after save afterResume #2" in found.points
    for point, expected in (("after save afterResume #2", 2), ("after save afterResume #99", 1 + len(found.points))):
        plays.clear()
        assert explore(make, [Callback("go"), Callback("pay", 5)], kill_at=point).points == found.points
        assert len(plays) == expected
