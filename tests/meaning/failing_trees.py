"""Random trees in which things go wrong: steps that raise, policies, Try, Fail, Saga, and loops that give up.

They are the trees of ``trees.py``, with more kinds of nodes. Every loop begins with a step, so that none spins: that is
tested elsewhere, and plain Python would not end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from hypothesis import strategies as st

from flowstmt import ErrorInfo, FinalError
from tests.meaning.trees import (
    Act,
    After,
    Await,
    Body,
    Branch,
    Call,
    Cond,
    Data,
    Each,
    Expr,
    Grower,
    Handler,
    Items,
    Jump,
    Loop,
    Node,
    Op,
    Place,
    Several,
    Taste,
    Timer,
    Until,
    Use,
    Val,
    starts,
)

# --- what goes wrong -------------------------------------------------------------------------------------------------


class ApeError(Exception):
    """An error."""


class BeeError(ApeError):
    """An error of a more special kind."""


class CatError(Exception):
    """An error of another kind."""


class DogError(FinalError):
    """An error that no policy retries."""


RAISED: dict[str, type[Exception]] = {cls.__name__: cls for cls in (ApeError, BeeError, CatError, DogError)}
"""What actions raise."""

CAUGHT: dict[str, type[Exception]] = {**RAISED, "FinalError": FinalError, "Exception": Exception}
"""What is caught."""


@dataclass(frozen=True)
class Errors:
    """Which errors are meant: each a class, the name of one (or of a Fail), or a predicate; alone or in a tuple."""

    parts: tuple[tuple[Literal["class", "name", "predicate"], str], ...]
    alone: bool = False

    def given(self) -> Any:
        """As flowstmt gets it."""
        parts = tuple(_part(kind, name) for kind, name in self.parts)
        return parts[0] if self.alone else parts


def _part(kind: str, name: str) -> Any:
    if kind == "name":
        return name
    cls = CAUGHT[name]
    return cls if kind == "class" else lambda error: isinstance(error, cls)


ALL_ERRORS = Errors((("class", "Exception"),))


@dataclass(frozen=True)
class Policy:
    """Retry; durations in seconds."""

    max_attempts: int = 3
    initial: int = 1
    multiplier: int = 2
    max_delay: int = 30
    on: Errors = ALL_ERRORS
    unless: Errors = Errors(())
    when: str | None = None
    total: int | None = None


# --- the nodes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Undo:
    """How a step is compensated: by a callable that takes nothing, the result, or the result and the item."""

    takes: Literal["", "result", "item"]
    ops: tuple[Op, ...]
    faults: tuple[str, ...]
    use: Use


@dataclass(frozen=True)
class Task(Act):
    """Step. ``faults``: what each of its calls raises, "" for nothing; once there are no more, it succeeds."""

    faults: tuple[str, ...] = ()
    policy: Policy | None = None
    undo: Undo | None = None


@dataclass(frozen=True)
class Taking:
    """Catch. ``into``: the field ``caught`` gets the error, or a setter counts its attempts."""

    errors: Errors
    body: Body
    into: Literal["", "field", "setter"]


@dataclass(frozen=True)
class Attempt(Several):
    """Try."""

    body: Body
    cases: tuple[Taking, ...]
    last: Body | None

    def bodies(self) -> list[Body]:
        """All of them."""
        return [self.body, *(case.body for case in self.cases), *([] if self.last is None else [self.last])]


@dataclass(frozen=True)
class Quit(Node):
    """Fail. Without a value its message is a constant."""

    val: Val | None


@dataclass(frozen=True)
class Deal(Node):
    """Saga."""

    body: Body


@dataclass(frozen=True)
class Limited(Loop):
    """For with max_iterations."""

    most: int = 1


@dataclass
class Flaws(Data):
    """The data, with the error that was caught last."""

    caught: ErrorInfo | None = None

    def shown(self) -> tuple[Any, ...]:
        """The data as a value that can be compared and kept."""
        return (*super().shown(), told(self.caught))


def short(name: str) -> str:
    """The name as its scope has it."""
    return name.rsplit("/", 1)[-1]


def told(error: ErrorInfo | None) -> tuple[Any, ...] | None:
    """An error as a value that can be compared and kept."""
    return None if error is None else (error.type, error.message, error.step, error.attempts)


# --- random trees ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Troubles(Taste):
    """Which trees are wanted. ``sagas``: with compensations."""

    sagas: bool = False
    size: int = 18


class Troubled(Grower):
    """Draws one tree."""

    taste: Troubles

    def __init__(self, draw: Callable[..., Any], taste: Troubles) -> None:
        super().__init__(draw, taste)
        self.quits: list[str] = []

    def nodes(self, place: Place) -> list[Node]:
        self.budget -= 1
        kinds = ["act"] * 8 + ["nap", "ret", "quit"]
        if place.depth < 7 and self.budget > 0:
            kinds += ["attempt"] * 7 + ["branch", "loop", "loop", "each", "each", "await", "row", "section"]
            if self.taste.sagas:
                kinds += ["deal"] * 4
            if self.taste.threads and place.depth < 5:
                kinds += ["spawn"] * 3
        if self.taste.threads and self.all_gos:
            kinds += ["gather"]
        if self.chance(10):
            kinds += ["until"]
        if place.loop:
            kinds += ["jump"] * 3
        return self.make(self.one_of(*kinds), place)

    def interesting(self) -> Body:
        """Some of what makes trees interesting, in a loop or not."""
        place = Place(1)
        kinds = ["attempt", "attempt", "attempt", "act", "loop"]
        if self.taste.sagas:
            kinds += ["deal", "deal"]
        if self.taste.threads:
            kinds += ["spawn", "spawn"]
        around = self.one_of("", "loop", "each")
        inside = replace(place, loop=bool(around), item="box" if around == "each" else "")
        rows = [node for _ in range(self.one_of(2, 3, 1)) for node in self.make(self.one_of(*kinds), inside)]
        whole = tuple(rows)
        if around == "loop":
            whole = (self.loop(inside, whole),)
        elif around == "each":
            whole = (Each(self.name("each"), Items("boxes", plain=self.chance(40)), whole),)
        return (*whole, *self.maybe(place))

    def faults(self, percent: int = 50) -> tuple[str, ...]:
        if not self.chance(percent):
            return ()
        return tuple(self.one_of(*RAISED, *RAISED, "ApeError", "ApeError", "") for _ in range(self.one_of(1, 1, 2, 2, 3, 4)))

    def errors(
        self, common: tuple[str, ...] = ("Exception", "ApeError", "ApeError", "BeeError", "CatError", "FinalError", "DogError")
    ) -> Errors:
        parts = []
        for _ in range(self.one_of(1, 1, 1, 2)):
            kind = self.one_of("class", "class", "class", "name", "predicate")
            name = self.one_of(*common)
            if kind == "name" and self.quits and self.chance(60):
                name = self.one_of(*self.quits)
            parts.append((kind, name))
        return Errors(tuple(parts), len(parts) == 1 and self.chance(70))

    def policy(self, percent: int = 30, *, whole: bool = True) -> Policy | None:
        if not self.chance(percent):
            return None
        policy = Policy(self.one_of(2, 3, 2, 4, 1), self.one_of(1, 2, 0), self.one_of(2, 1, 3), self.one_of(30, 3))
        if self.chance(25):
            policy = replace(policy, on=self.errors(("ApeError", "Exception", "BeeError", "CatError")))
        if self.chance(15):
            policy = replace(policy, unless=self.errors(("BeeError", "CatError")))
        if self.chance(15):
            policy = replace(policy, when=self.one_of("ApeError", "CatError"))
        if whole and self.chance(15):
            policy = replace(policy, total=self.one_of(1, 2, 5, 0))
        return policy

    def make_act(self, place: Place) -> Task:
        act = super().make_act(place)
        undo = self.undo(place) if self.taste.sagas and self.chance(50) else None
        policy = self.policy(whole=undo is None)
        return Task(act.name, act.ops, act.result, act.use, act.into, act.is_async, self.faults(), policy, undo)

    def undo(self, place: Place) -> Undo:
        use = self.use(place, 100)
        takes = self.one_of("result", "", "item" if use else "result")
        return Undo(takes, self.ops(""), self.faults(30), use)

    def make_attempt(self, place: Place) -> Attempt:
        body = self.body(place, 1)
        if self.chance(60):
            body = self.with_one_more(body, self.one_of(self.make_act, self.make_act, self.make_quit)(place), 70)
        cases = tuple(
            Taking(self.errors(), self.body(place) if self.chance(80) else (), self.one_of("", "field", "field", "setter"))
            for _ in range(self.one_of(1, 1, 2, 0))
        )
        last = self.body(place) if not cases or self.chance(60) else None
        return Attempt(self.name("try"), body, cases, last)

    def make_quit(self, place: Place) -> Node:
        name = self.name("quit")
        self.quits.append(short(name))
        made = Quit(name, self.val(place) if self.chance(50) else None)
        return made if self.chance(30) else self.perhaps(made, place)

    def perhaps(self, node: Node, place: Place) -> Branch:
        """The node, if some condition holds."""
        name = self.name("if")
        return Branch(name, "if", ((name, self.cond(place), (node,)),), None)

    def make_deal(self, place: Place) -> Deal:
        return Deal(self.name("saga"), (self.make_act(place), *self.body(place, 1)))

    def loop(self, inside: Place, body: Body) -> Loop:
        """A loop that stops on each way round."""
        cond = None if self.chance(30) else self.cond(inside)
        if cond is None and self.chance(70):
            body = self.with_one_more(body, self.perhaps(Jump("", "break"), inside), 0)
        body = (self.make_act(inside), *body)
        if self.chance(40):
            return Limited(self.name("loop"), cond, body, self.one_of(1, 2, 3))
        return Loop(self.name("loop"), cond, body)

    def make_await(self, place: Place) -> Await:
        """At most one timer, so that it is known which is first; it is not due at once, so that callbacks have a chance."""
        names = self.some(("red", "green"), (1, 2, 0))
        events: list[Call | Timer] = [Call(name, self.handler(place), None, self.body(place)) for name in names]
        if not names or self.chance(40):
            events.append(Timer("late", After("duration", Val(Expr("const", self.one_of(5, 10)), "", True)), self.body(place)))
        return Await(self.name("await"), tuple(events))

    def handler(self, place: Place) -> Handler | None:
        handler = super().handler(place)
        return None if handler is None else replace(handler, refuse=None, payload=handler.payload and "int")

    def make_until(self, place: Place) -> Until:
        handler = replace(self.make_act(place), into=None, policy=None, undo=None) if self.chance(50) else None
        return Until(self.name("until"), Cond(Val(Expr("const")), "true"), handler)


@st.composite
def troubled(draw: Callable[..., Any], taste: Troubles) -> Body:
    """A definition."""
    return Troubled(draw, taste).tree()


@dataclass(frozen=True)
class Course:
    """What happens to a run from outside: which event of each wait fires. ``policy``: that of the class."""

    data: Flaws
    picks: tuple[int, ...]
    policy: Policy | None = None

    def fresh(self, cls: type[Flaws] = Flaws) -> Flaws:
        """The data, for one run to change."""
        of = self.data
        return cls(of.x, of.y, of.z, list(of.items), [type(box)(box.n) for box in of.boxes])

    def pick(self, happened: int, events: int) -> int:
        """Which of the events of a wait fires; ``happened``: how much has by then."""
        return self.picks[happened % len(self.picks)] % events


@st.composite
def courses(draw: Callable[..., Any]) -> Course:
    """How a run begins, and what happens to it."""
    of = draw(starts()).data
    picks = tuple(draw(st.lists(st.integers(0, 2), min_size=1, max_size=5)))
    policy = draw(st.sampled_from((None, None, None, None, Policy(2, 1), Policy(3, 2, on=Errors((("class", "ApeError"),))))))
    return Course(Flaws(of.x, of.y, of.z, of.items, of.boxes), picks, policy)
