"""Random definitions as abstract trees, the small data that they work on, and random scripts of callbacks and time.

An abstract tree knows nothing of flowstmt: ``flows.py`` compiles it to a workflow, in both styles, and ``interpreter.py``
says what it means. So all three are made from the same tree, and the first two can't share a misunderstanding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Literal, TypeAlias

from hypothesis import strategies as st

MODULUS = 5
FIELDS = ("x", "y", "z")
EVENT_NAMES = ("red", "green", "blue")
TIMER_NAMES = ("soon", "late")

Use: TypeAlias = Literal["", "int", "box", "any"]
"""Whether a callable takes the item: not at all, annotated as one of two types, or without an annotation."""


@dataclass
class Box:
    """An item that actions can change."""

    n: int = 0


@dataclass
class Data:
    """What the actions of every random workflow work on."""

    x: int = 0
    y: int = 0
    z: int = 0
    items: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)

    def shown(self) -> tuple[Any, ...]:
        """The data as a value that can be compared and kept."""
        return (self.x, self.y, self.z, tuple(self.items), tuple(box.n for box in self.boxes))


# --- what callables do -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expr:
    """A number: a constant, a field of the data, or the item."""

    kind: Literal["const", "field", "item"]
    value: Any = 0


@dataclass(frozen=True)
class Val:
    """An expression and how the callable that answers it is written. ``plain``: a value, where the style allows it."""

    expr: Expr
    use: Use = ""
    plain: bool = False


@dataclass(frozen=True)
class Cond:
    """A condition: a value compared with a constant. ``raw``: the callable returns the number itself."""

    val: Val
    op: Literal["<", ">=", "==", "!=", "raw", "true", "false"]
    k: int = 0


@dataclass(frozen=True)
class Op:
    """One thing that an action does to the data (or to its item)."""

    kind: Literal["add", "set", "push", "drop", "box", "grow"]
    field: str
    expr: Expr


@dataclass(frozen=True)
class Into:
    """Where a result or payload goes: a field by name, or a setter."""

    kind: Literal["field", "setter"]
    field: str
    use: Use = ""


def plain_number(item: Any) -> int:
    """The number that an item (or a payload) stands for; an item of which nobody says the type is JSON."""
    if isinstance(item, Box):
        return item.n
    if isinstance(item, dict):
        return int(item["n"])
    return item if isinstance(item, int) else 1


def number(expr: Expr, data: Data, item: Any) -> int:
    """The value of an expression."""
    if expr.kind == "const":
        return int(expr.value)
    if expr.kind == "field":
        return int(getattr(data, expr.value))
    return plain_number(item)


def truth(cond: Cond, data: Data, item: Any) -> Any:
    """What the callable of a condition returns (``raw``: a number, whose truth is meant)."""
    if cond.op in ("true", "false"):
        return cond.op == "true"
    n = number(cond.val.expr, data, item)
    if cond.op == "raw":
        return n
    return {"<": n < cond.k, ">=": n >= cond.k, "==": n == cond.k, "!=": n != cond.k}[cond.op]


def apply(ops: tuple[Op, ...], data: Data, item: Any) -> None:
    """Do what an action does."""
    for op in ops:
        n = number(op.expr, data, item)
        if op.kind == "add":
            setattr(data, op.field, (getattr(data, op.field) + n) % MODULUS)
        elif op.kind == "set":
            setattr(data, op.field, n % MODULUS)
        elif op.kind == "push":
            if len(data.items) < 4:
                data.items.append(n)
        elif op.kind == "drop":
            if data.items:
                del data.items[-1]
        elif op.kind == "box":
            if len(data.boxes) < 3:
                data.boxes.append(Box(n))
        elif isinstance(item, Box):
            item.n = (item.n + n) % MODULUS
        elif isinstance(item, dict):
            item["n"] = (item["n"] + n) % MODULUS


# --- the trees -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    name: str


Body: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True)
class Act(Node):
    """Step."""

    ops: tuple[Op, ...]
    result: Expr
    use: Use
    into: Into | None
    is_async: bool


@dataclass(frozen=True)
class Row(Node):
    """S."""

    body: Body


@dataclass(frozen=True)
class Section(Node):
    """Scope. Names in an abstract tree are full names: those inside begin with the name of the section."""

    body: Body


@dataclass(frozen=True)
class Branch(Node):
    """If with its else_if and else_, or Switch with its cases."""

    kind: Literal["if", "switch"]
    cases: tuple[tuple[str, Cond, Body], ...]
    default: Body | None


@dataclass(frozen=True)
class Loop(Node):
    """For; without a condition for ever."""

    cond: Cond | None
    body: Body


@dataclass(frozen=True)
class Items:
    kind: Literal["ints", "boxes", "const", "range"]
    const: tuple[int, ...] = ()
    val: Val = field(default_factory=lambda: Val(Expr("const")))
    plain: bool = False


@dataclass(frozen=True)
class Each(Node):
    """ForEach."""

    items: Items
    body: Body


@dataclass(frozen=True)
class Jump(Node):
    kind: Literal["break", "continue"]


@dataclass(frozen=True)
class Ret(Node):
    val: Val | None


@dataclass(frozen=True)
class After:
    """A duration in seconds, or an instant in seconds from the start of all time."""

    kind: Literal["duration", "instant"]
    val: Val


@dataclass(frozen=True)
class Nap(Node):
    """Sleep."""

    after: After


@dataclass(frozen=True)
class Handler:
    """``payload``: whether it takes the payload, annotated or not. ``refuse``: when it refuses, its work half done."""

    ops: tuple[Op, ...]
    result: Expr
    payload: Literal["", "int", "any"]
    use: Use
    refuse: Cond | None
    is_async: bool


@dataclass(frozen=True)
class Call(Node):
    """On."""

    handler: Handler | None
    into: Into | None
    body: Body


@dataclass(frozen=True)
class Timer(Node):
    """Timeout."""

    after: After
    body: Body


@dataclass(frozen=True)
class Await(Node):
    """Wait."""

    events: tuple[Call | Timer, ...]


@dataclass(frozen=True)
class Until(Node):
    """WaitFor."""

    cond: Cond
    handler: Act | None


@dataclass(frozen=True)
class Spawn(Node):
    """Go. ``arg`` is a number or a Box with that number."""

    body: Body
    id: Val | None
    arg: tuple[Literal["int", "box"], Val] | None


@dataclass(frozen=True)
class Gather(Node):
    """Join."""

    go_names: tuple[str, ...]


@dataclass(frozen=True)
class Several(Node):
    """A node of another module that has more bodies than one."""

    def bodies(self) -> list[Body]:
        """All of them."""
        raise NotImplementedError


def bodies(node: Node) -> list[Body]:
    """All the bodies that a node has."""
    if isinstance(node, Branch):
        return [body for _, _, body in node.cases] + ([] if node.default is None else [node.default])
    if isinstance(node, Await):
        return [event.body for event in node.events]
    if isinstance(node, Several):
        return node.bodies()
    body = getattr(node, "body", None)
    return [] if body is None else [body]


def nodes(body: Body) -> Iterator[Node]:
    """Every node of a body, nested ones too."""
    for node in body:
        yield node
        if isinstance(node, Await):
            yield from node.events
        for inner in bodies(node):
            yield from nodes(inner)


# --- random trees ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taste:
    """Which trees are wanted. ``wild``: jumps anywhere, and loops that may contain nothing that stops."""

    threads: bool = False
    wild: bool = False
    spinning: bool = False
    waits: int = 4
    size: int = 16


@dataclass(frozen=True)
class Place:
    """Where a node is to stand."""

    depth: int = 0
    loop: bool = False
    item: Literal["", "int", "box"] = ""
    gos: tuple[str, ...] = ()


class Grower:
    """Draws one tree. The budget keeps trees small; names are numbered, so that they are unique."""

    def __init__(self, draw: Callable[..., Any], taste: Taste) -> None:
        self.draw = draw
        self.taste = taste
        self.budget = draw(st.integers(taste.size // 2, taste.size))
        self.numbers = count(1)
        self.scope = ""
        self.all_gos: list[str] = []

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def chance(self, percent: int) -> bool:
        # Shrinks to False.
        return bool(self.draw(st.integers(0, 99)) >= 100 - percent)

    def name(self, kind: str) -> str:
        return f"{self.scope}{kind}{next(self.numbers)}"

    def use(self, place: Place, percent: int = 50) -> Use:
        if not place.item or not self.chance(percent):
            return ""
        use: Use = "any" if self.chance(30) else place.item
        return use

    def expr(self, use: Use, percent_item: int = 60) -> Expr:
        if use and self.chance(percent_item):
            return Expr("item")
        return Expr("const", self.draw(st.integers(1, 3))) if self.chance(50) else Expr("field", self.one_of(*FIELDS))

    def val(self, place: Place) -> Val:
        use = self.use(place)
        return Val(self.expr(use), use, plain=not use and self.chance(40))

    def cond(self, place: Place) -> Cond:
        if self.chance(10):
            return Cond(Val(Expr("const"), "", self.chance(40)), self.one_of("true", "false"))
        use = self.use(place, 40)
        expr = Expr("item") if use else Expr("field", self.one_of(*FIELDS))
        val = Val(expr, use, plain=not use and self.chance(40))
        return Cond(val, self.one_of("<", "<", ">=", "==", "!=", "!=", "raw"), self.draw(st.integers(1, 4)))

    def ops(self, use: Use) -> tuple[Op, ...]:
        kinds = ("add", "add", "add", "set", "push", "drop", "box") + (("grow",) * 5 if use else ())
        return tuple(
            Op(self.one_of(*kinds), self.one_of(*FIELDS), self.expr(use, 40)) for _ in range(self.one_of(1, 1, 1, 2, 2, 0))
        )

    def into(self, place: Place) -> Into | None:
        if not self.chance(25):
            return None
        if self.chance(60):
            return Into("field", self.one_of(*FIELDS))
        return Into("setter", self.one_of(*FIELDS), self.use(place, 30))

    def after(self, place: Place) -> After:
        if self.chance(15):
            return After("instant", Val(Expr("const", self.draw(st.integers(0, 60))), "", self.chance(50)))
        if self.chance(30):
            return After("duration", self.val(place))
        return After("duration", Val(Expr("const", self.one_of(5, 10, 15, 0)), "", self.chance(50)))

    def body(self, place: Place, least: int = 0) -> Body:
        rows: list[Node] = []
        place = replace(place, depth=place.depth + 1)
        most = self.one_of(1, 2, 2, 3, 3, 4)
        while len(rows) < max(least, most) and (self.budget > 0 or len(rows) < least):
            rows += self.nodes(place)
        return tuple(rows)

    def nodes(self, place: Place) -> list[Node]:
        self.budget -= 1
        kinds = ["act"] * 5 + ["nap", "ret"]
        if place.depth < 6 and self.budget > 0:
            kinds += ["branch"] * 2 + ["loop"] * 3 + ["each"] * 3 + ["await"] * self.taste.waits + ["row"] + ["section"] * 2
            if self.taste.threads and place.depth < 5:
                kinds += ["spawn"] * 5
        if self.taste.threads:
            kinds += ["until"] * 2 + ["gather"] * (3 if self.all_gos else 0)
        elif self.chance(10):
            kinds += ["until"]
        if place.loop or (self.taste.wild and self.chance(50)):
            kinds += ["jump"] * 4
        return self.make(self.one_of(*kinds), place)

    def make(self, kind: str, place: Place) -> list[Node]:
        made = getattr(self, f"make_{kind}")(place)
        return made if isinstance(made, list) else [made]

    def tree(self) -> Body:
        """A tree, now and then all of it in a scope."""
        if not self.chance(25):
            return self.interesting()
        name = self.name("scope")
        self.scope = f"{name}/"
        return (Section(name, self.interesting()),)

    def interesting(self) -> Body:
        """Some of what makes trees interesting, in any order, among other statements, mostly inside of a loop."""
        place = Place(1)
        kinds = ["loop", "await", "each", "act"]
        if self.taste.threads:
            kinds += ["spawn", "spawn", "until", "gather"]
        wanted = [self.one_of(*kinds) for _ in range(self.one_of(3, 4, 2))]
        around = self.one_of("", "loop", "each", "loop", "go" if self.taste.threads else "")
        inside = replace(place, loop=around in ("loop", "each"), depth=1 + bool(around))
        if around in ("each", "go"):
            inside = replace(inside, item="box")
        rows = [node for kind in wanted for node in (*self.make(kind, inside), *self.maybe(inside))]
        whole = tuple(rows)
        if around == "loop":
            whole = (*self.make("act", place), self.loop(inside, whole))
        elif around == "each":
            whole = (Each(self.name("each"), Items("boxes", plain=self.chance(40)), whole),)
        elif around == "go":
            name = self.name("go")
            self.all_gos.append(name)
            whole = (Spawn(name, whole, None, ("box", self.val(place))), Gather(self.name("gather"), (name,)))
        return (*whole, *self.maybe(place))

    def maybe(self, place: Place) -> list[Node]:
        return self.nodes(place) if self.chance(40) else []

    def make_act(self, place: Place) -> Act:
        use = self.use(place, 60)
        return Act(self.name("act"), self.ops(use), self.expr(use), use, self.into(place), self.chance(50))

    def make_row(self, place: Place) -> Row:
        return Row("", self.body(place))

    def make_section(self, place: Place) -> Section:
        name, outer = self.name("scope"), self.scope
        self.scope = f"{name}/"
        body = self.body(place)
        self.scope = outer
        return Section(name, body)

    def make_branch(self, place: Place) -> Branch:
        names = [self.name("branch") for _ in range(self.one_of(1, 1, 2, 3))]
        cases = tuple((name, self.cond(place), self.body(place)) for name in names)
        return Branch(names[0], self.one_of("if", "switch"), cases, self.body(place) if self.chance(40) else None)

    def make_loop(self, place: Place) -> Loop:
        inside = replace(place, loop=True)
        return self.loop(inside, self.body(inside, 1))

    def loop(self, inside: Place, body: Body) -> Loop:
        """A loop around a body, most of the time with a stop on each way through it and a way out."""
        cond = None if self.chance(30) else self.cond(inside)
        if cond is not None and cond.val.expr.kind == "field" and self.chance(70):
            cond = replace(cond, op=self.one_of("!=", "!=", "<"))
        if self.taste.wild and self.chance(50):
            return Loop(self.name("loop"), cond, body)
        if not self.taste.spinning or not any(may_stop(node) for node in body):
            stop: Node = self.make_act(inside) if self.chance(90) else self.make_nap(inside)
            if isinstance(stop, Act) and cond is not None and cond.val.expr.kind == "field" and self.chance(80):
                stop = replace(stop, ops=(Op("add", cond.val.expr.value, Expr("const", 1)),))
            body = self.with_one_more(body, stop, 60)
        if cond is None:
            name = self.name("out")
            out = Branch(name, "if", ((name, self.cond(inside), (Jump("", "break"),)),), None)
            body = self.with_one_more(body, out, 0)
        return Loop(self.name("loop"), cond, body)

    def with_one_more(self, body: Body, node: Node, first: int) -> Body:
        at = 0 if self.chance(first) else self.draw(st.integers(0, len(body)))
        return (*body[:at], node, *body[at:])

    def make_each(self, place: Place) -> Each:
        kind = self.one_of("ints", "boxes", "boxes", "const", "range")
        plain = self.chance(40)
        if kind == "const":
            items = Items(kind, tuple(self.draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))), plain=plain)
        elif kind == "range":
            items = Items(kind, val=self.val(place))
        else:
            items = Items(kind, plain=plain)
        inside = replace(place, loop=True, item="box" if kind == "boxes" else "int")
        return Each(self.name("each"), items, self.body(inside, 1))

    def make_jump(self, place: Place) -> Node:
        jump = Jump("", self.one_of("break", "continue"))
        if self.chance(20):
            return jump
        name = self.name("jump")
        return Branch(name, "if", ((name, self.cond(place), (jump,)),), None)

    def make_ret(self, place: Place) -> Node:
        ret = Ret("", None if self.chance(20) else self.val(place))
        if self.chance(10):
            return ret
        name = self.name("return")
        return Branch(name, "if", ((name, self.cond(place), (ret,)),), None)

    def make_nap(self, place: Place) -> Nap:
        return Nap(self.name("nap"), self.after(place))

    def make_await(self, place: Place) -> Await:
        names = self.some(EVENT_NAMES, (1, 1, 2, 2, 3, 0))
        timers = self.some(TIMER_NAMES, (0, 0, 1, 2) if names else (1, 2))
        events: list[Call | Timer] = [Call(name, self.handler(place), self.into(place), self.body(place)) for name in names]
        events += [Timer(name, self.after(place), self.body(place)) for name in timers]
        return Await(self.name("await"), tuple(events))

    def some(self, names: tuple[str, ...], sizes: tuple[int, ...]) -> list[str]:
        return list(self.draw(st.permutations(names))[: self.one_of(*sizes)])

    def handler(self, place: Place) -> Handler | None:
        if self.chance(25):
            return None
        payload = self.one_of("int", "int", "", "any")
        use = self.use(place, 60) if payload else ""
        refuse = self.cond(place if use else replace(place, item="")) if self.chance(35) else None
        return Handler(self.ops(use), self.expr(use), payload, use, refuse, self.chance(50))

    def make_until(self, place: Place) -> Until:
        cond = self.cond(place)
        if not self.taste.threads and self.chance(80):
            cond = replace(cond, op="true")
        handler = replace(self.make_act(place), into=None) if self.chance(50) else None
        return Until(self.name("until"), cond, handler)

    def make_spawn(self, place: Place) -> list[Node]:
        name = self.name("go")
        arg = (self.one_of("int", "box"), self.val(place)) if self.chance(40) else None
        item = arg[0] if arg is not None else place.item
        if place.item and place.loop and self.chance(60):
            id_: Val | None = Val(Expr("item"), self.one_of("any", place.item))
        else:
            id_ = self.val(place) if self.chance(25) else None
        body = self.body(Place(place.depth, False, item, (*place.gos, name)), 1)
        made: list[Node] = [Spawn(name, body, id_, arg)]
        self.all_gos.append(name)
        if place.loop and id_ is None and self.chance(80):
            made += [self.make_act(place), Gather(self.name("gather"), (name,))]
        return made

    def make_gather(self, place: Place) -> Node:
        choices = [name for name in self.all_gos if name not in place.gos]
        if not choices:
            return self.make_act(place)
        names = self.draw(st.lists(st.sampled_from(choices), unique=True, min_size=1, max_size=2))
        return Gather(self.name("gather"), tuple(names))


def may_stop(node: Node) -> bool:
    """Whether a node is, or contains in its own thread, a stop."""
    if isinstance(node, Act | Nap | Await | Until | Gather):
        return True
    return not isinstance(node, Spawn) and any(may_stop(inner) for body in bodies(node) for inner in body)


def faulty(body: Body, loop: bool = False) -> int:
    """How often a tree breaks the rules of linking: jumps without a loop in their thread, loops that can't stop."""
    faults = 0
    for node in body:
        faults += isinstance(node, Jump) and not loop
        faults += isinstance(node, Loop) and not any(may_stop(inner) for inner in node.body)
        inside = not isinstance(node, Spawn) and (loop or isinstance(node, Loop | Each))
        faults += sum(faulty(inner, inside) for inner in bodies(node))
    return faults


@st.composite
def trees(draw: Callable[..., Any], taste: Taste) -> Body:
    """A definition."""
    return Grower(draw, taste).tree()


# --- random scripts --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Move:
    """``resume`` after ``later`` seconds, or (None) at the instant of the next timer."""

    later: int | None
    max_steps: int


@dataclass(frozen=True)
class Event:
    """A callback with a fitting payload to one of the events that are open by then; ``pins``: how exactly it is named."""

    pick: int
    pins: Literal["name", "thread", "stop", "all"]
    payload: Any


@dataclass(frozen=True)
class Wrong:
    """A callback that may well be refused: any name, a stop that has passed, another run or thread."""

    kind: Literal["name", "stale", "run", "thread", "birth", "pc", "payload"]
    name: str
    pick: int
    payload: Any


Script: TypeAlias = tuple[Move | Event | Wrong, ...]

_moves = st.builds(Move, st.sampled_from((None,) * 6 + (0, 3, 20)), st.sampled_from((25,) * 12 + (3, 1, 0)))
_payloads = st.sampled_from((3, 1, None, b"2", 4, b"0", "nope", b"{"))
_events = st.builds(
    Event, st.integers(0, 5), st.sampled_from(("name", "thread", "stop", "all")), st.sampled_from((1, 2, 3, b"2", 0, 4))
)
_wrong = st.builds(
    Wrong,
    st.sampled_from(("name", "stale", "stale", "run", "thread", "birth", "pc", "payload", "payload")),
    st.sampled_from((*EVENT_NAMES, *TIMER_NAMES, "nobody")),
    st.integers(0, 9),
    _payloads,
)


@st.composite
def scripts(draw: Callable[..., Any], wrong: int = 1) -> Script:
    """What happens to a run from outside. Nearly always it is resumed soon after something happened."""
    script: list[Move | Event | Wrong] = [draw(_wrong)] if draw(st.integers(0, 9)) == 9 else []
    script.append(draw(_moves))
    for _ in range(draw(st.sampled_from((12, 8, 16, 4)))):
        kind = draw(st.sampled_from(("event",) * 6 + ("move",) * 2 + ("wrong",) * wrong))
        script.append(draw({"event": _events, "move": _moves, "wrong": _wrong}[kind]))
        if kind == "event" and draw(st.integers(0, 9)) < 8:
            script.append(draw(_moves))
    return tuple(script)


@dataclass(frozen=True)
class Start:
    """The data of a new run, and when it was born (None: nobody says)."""

    data: Data
    born: int | None

    def fresh(self, cls: type[Data] = Data) -> Data:
        """The data, for one run to change."""
        data = self.data
        return cls(data.x, data.y, data.z, list(data.items), [Box(box.n) for box in data.boxes])


@st.composite
def starts(draw: Callable[..., Any]) -> Start:
    """How a run begins."""
    small = st.integers(0, MODULUS - 1)
    data = Data(draw(small), draw(small), draw(small))
    data.items = draw(st.lists(small, max_size=3))
    data.boxes = [Box(n) for n in draw(st.lists(small, min_size=1, max_size=2))]
    return Start(data, draw(st.sampled_from((0, 0, 0, None, -12))))
