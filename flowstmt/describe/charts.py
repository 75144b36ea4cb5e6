"""A definition as a Mermaid flowchart.

Theory: the arrows are the links of the program (``ways.py``), so what is drawn is what the machine does: a loop is closed
where the body's last statement leads back, a Break is an arrow to what follows its loop. Jumps are gone after linking; the
tree, walked in the order of the source, says at which arrows they stood, and that is all it is asked for.

Whatever fails inside a Try would need an arrow from each statement to each catch: there is one from the Try's own box, and a
frame says what is inside. Threads are frames of their own, as are scopes. Boxes are numbered, so no name can be taken for a
word of Mermaid's.

What this module must not know: what statements are called or what they hold (``kinds.py``). A new statement needs a line here
only if none of the manners of drawing fits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flowstmt.core.nodes import Node
from flowstmt.core.state import OVER, RESUMING, RUN_FINISHED, State
from flowstmt.describe.jumps import Jumps
from flowstmt.describe.kinds import DESCRIBED
from flowstmt.describe.labels import label
from flowstmt.describe.manners import Drawn
from flowstmt.describe.marks import FEW, Mark, Standing, said_error, said_place, standing, who
from flowstmt.describe.subjects import Subject, subject_of
from flowstmt.describe.ways import Arrow, Goal, Ways, end_of, reached
from flowstmt.describe.wording import said_retry, shown

__all__ = ["to_mermaid"]

WIDTH = 28
"""So many letters fit into a box: Mermaid would break longer lines once more."""
ARROW = 20
NARROW = 14
"""A diamond is as high as it is wide: its words are broken earlier."""

_BOXES: Mapping[Drawn, tuple[str, str]] = {
    Drawn.ACTION: ("[", "]"),
    Drawn.CONCURRENT: ("[[", "]]"),
    Drawn.STOP: ("(", ")"),
    Drawn.JOIN: ("(", ")"),
    Drawn.CHOICE: ("{", "}"),
    Drawn.LOOP: ("{{", "}}"),
    Drawn.SPAWN: ("[[", "]]"),
    Drawn.WAIT: ("(", ")"),
    Drawn.EVENT: (">", "]"),
    Drawn.TIMER: ("[/", "/]"),
    Drawn.GUARD: ("[/", "\\]"),
    Drawn.FINALLY: ("[\\", "/]"),
    Drawn.FORK: ("[[", "]]"),
    Drawn.END: ("([", "])"),
    Drawn.FAILURE: ("([", "])"),
}

_STYLES: Mapping[str, str] = {
    # Each fill with the colour of its words: the page around may be dark or light.
    "here": "fill:#ffd33d,stroke:#9a6700,stroke-width:3px,color:#1f2328",
    "over": "fill:#1a7f37,stroke:#116329,color:#ffffff",
    "failed": "fill:#cf222e,stroke:#a40e26,color:#ffffff",
    "scope": "fill:transparent,stroke:#8b949e,stroke-dasharray:6 4",
    "unreached": "stroke-dasharray:4 4",
}


def to_mermaid(subject: Any, state: State | None = None) -> str:
    """A definition as a Mermaid flowchart; with a state, the positions of its live threads are marked, and a run that is over.

    Rectangles are steps, diamonds are branches, hexagons are loops, rounded boxes are where threads wait, flags are events and
    slanted boxes are timeouts. Trapezoids begin what a ``Try`` or a ``Saga`` guards, and a finally. Threads are drawn apart,
    each beginning with its name; the branches of a ``Parallel`` or a ``Map`` between the boxes at which they part and meet.

    Raises ``DefinitionError`` if the subject has none that can be used, ``PositionError`` if the state does not fit it.

    >>> from flowstmt import Step
    >>> print(to_mermaid(Step("ship", print)).splitlines()[2].strip())
    n0["ship"]
    """
    found = subject_of(subject)
    return "\n".join(_Chart(found, standing(found, state), state).lines())


class _Chart:
    """One picture."""

    def __init__(self, subject: Subject, marks: Standing, state: State | None) -> None:
        self.subject = subject
        self.marks = marks
        self.state = state
        self.arrows: list[Arrow] = []
        self.manners = {node.index: DESCRIBED[node.kind].manner(subject.values[node.index]) for node in self.nodes}
        values = subject.values
        failing = [case for node in self.nodes for case in DESCRIBED[node.kind].fails(node, values[node.index])]
        self.failing = {case.index for case in failing}
        self.ways = Ways(self.nodes)
        self.jumps = Jumps(subject.root, self.manners, self.ways)
        self._connect()
        self.reached, passed = reached(self.arrows)
        # Nobody goes on past a finally that is entered on the way out only.
        self.arrows = [each for each in self.arrows if each.source not in self.reached or passed.issuperset(each.goal.passes)]
        self.ends = {arrow.goal.box for arrow in self.arrows}

    @property
    def nodes(self) -> list[Node]:
        return self.subject.program.nodes

    def lines(self) -> list[str]:
        """The whole text."""
        lines = [
            f'start(["{self._start()}"]){self._fate()}',
            *self._boxes(self.subject.root),
            *self._end(None),
            *[line for node in self.nodes if self.manners[node.index] is Drawn.SPAWN for line in self._thread(node)],
            *[_drawn(arrow) for arrow in self.arrows if arrow.shown],
        ]
        styles = [
            f"classDef {name} {style}"
            for name, style in _STYLES.items()
            if any(line.endswith((f":::{name}", f" {name}")) for line in lines)
        ]
        return ["flowchart TD", *_indented([*lines, *styles])]

    def _connect(self) -> None:
        """Draw all arrows."""
        self._arrow("start", self.subject.program.start, None, self.jumps.first)
        for node in self.nodes:
            draw = _ARROWS.get(self.manners[node.index])
            if draw is not None:
                draw(self, node)
        for node in self.nodes:
            if self.manners[node.index] is Drawn.JOIN:
                self._joined(node)

    # --- boxes ---

    def _boxes(self, node: Node) -> list[str]:
        """The boxes of a statement and of all inside that runs in the same thread."""
        manner = self.manners[node.index]
        own = [self._box(node, manner)] if manner in _BOXES else []
        if manner is Drawn.SPAWN:
            return own
        if manner is Drawn.FORK:
            return [*own, *[line for branch in self._branches(node) for line in self._thread(branch)], self._meeting(node)]
        beside = [child for child in node.children if self.manners[child.index] in (Drawn.CATCH, Drawn.FINALLY)]
        inside = [line for child in node.children if child not in beside for line in self._boxes(child)]
        outside = [line for child in beside for line in self._boxes(child)]
        if manner is Drawn.FRAME and inside:
            # Its name is in those of its statements: a title would be crossed by the arrow that leads in.
            return _framed(node, inside)
        if manner is Drawn.GUARD:
            return [*_framed(node, [*own, *inside]), *outside]
        if manner is Drawn.FINALLY and node.index in self.ways.exits:
            return [*own, *inside, f'f{node.index}{{"{label(["left by"], NARROW)}"}}']
        return [*own, *inside]

    def _box(self, node: Node, manner: Drawn) -> str:
        opening, closing = _BOXES[manner]
        lines = DESCRIBED[node.kind].label(node, self.subject.values[node.index])
        # Those at a fork wait where its threads meet again.
        marks = [] if manner is Drawn.FORK else self.marks.at(node.index)
        lost = ["✗ not undone"] if self.marks.not_undone.get(node.index) else []
        fails = ["a failure"] if node.index in self.failing else []
        words = label([*lines, *fails, *lost, *_marked(marks)], NARROW if manner is Drawn.CHOICE else WIDTH)
        unreached = "" if f"n{node.index}" in self.reached else ":::unreached"
        style = ":::failed" if lost else ":::here" if marks else unreached
        return f'n{node.index}{opening}"{words}"{closing}{style}'

    def _meeting(self, fork: Node) -> str:
        marks = self.marks.at(fork.index)
        words = label([*DESCRIBED[fork.kind].join(fork, self.subject.values[fork.index]), *_marked(marks)], WIDTH)
        unreached = "" if f"n{fork.index}" in self.reached else ":::unreached"
        return f'j{fork.index}("{words}"){":::here" if marks else unreached}'

    def _thread(self, go: Node) -> list[str]:
        marks = self.marks.beginning(go.index)
        words = label([DESCRIBED[go.kind].thread(go, self.subject.values[go.index]), *_marked(marks)], WIDTH)
        inside = [
            f'b{go.index}(["{words}"]){":::here" if marks else ""}',
            *[line for child in go.children for line in self._boxes(child)],
            *self._end(go),
        ]
        # Its name is in its first box: a title would be crossed by the arrow that leads there.
        return [f'subgraph t{go.index}[" "]', *_indented(inside), "end"]

    def _branches(self, fork: Node) -> list[Node]:
        """The statements whose bodies the threads of a fork run: its branches, or the statement itself."""
        return [child for child in fork.children if self.manners[child.index] is Drawn.BRANCH] or [fork]

    def _start(self) -> str:
        policy, state = self.subject.program.retry, self.state
        lines = [self.subject.name, *([] if policy is None else [f"steps: {said_retry(policy)}"])]
        if state is not None:
            lines.append(f"run {state.run_id}: {state.status}")
            if state.result is not None:
                lines.append(f"result {shown(state.result)}")
            if state.error is not None:
                lines += [*filter(None, [said_place(state.error)]), said_error(state.error)]
        return label([*lines, *_marked([*self.marks.beginning(-1), *self.marks.at(-1)])], WIDTH)

    def _fate(self) -> str:
        if self.state is None:
            return ""
        if self.state.status in OVER:
            return ":::over" if self.state.status is RUN_FINISHED else ":::failed"
        return ":::here" if self.marks.beginning(-1) or self.marks.at(-1) else ""

    def _end(self, go: Node | None) -> list[str]:
        """Where main, or the threads of a Go, come to their end; those of a fork meet in its own box."""
        end = end_of(go).box
        return [f'{end}(["end"])'] if end in self.ends and not end.startswith("j") else []

    # --- arrows ---

    def _arrow(self, source: str, link: Node, inside: Node | None, *words: str) -> None:
        self._lead(source, self.ways.goal(link, inside), *words)

    def _lead(self, source: str, goal: Goal, *words: str, dotted: bool = False) -> None:
        said = ", ".join(word for word in words if word)
        # Where threads part and meet, it is not one thread that goes on.
        self.arrows.append(Arrow(source, goal, said, dotted or goal.box.startswith("j")))

    def _dotted(self, source: str, target: str, *, leads: bool = True, shown: bool = True) -> None:
        self.arrows.append(Arrow(source, Goal(target), "", True, leads, shown))

    def _onwards(self, node: Node, letter: str = "n") -> None:
        self._arrow(f"{letter}{node.index}", node.next, node, self.jumps.behind(node))

    def _into(self, node: Node, source: str, word: str = "") -> None:
        self._arrow(source, node.entry, node, word, self.jumps.in_body(node))

    def _past(self, node: Node) -> None:
        """What follows without having been inside, where that can happen."""
        word = self._word(node, inside=False)
        if word is not None:
            self._arrow(f"n{node.index}", node.next, node, word, self.jumps.behind(node))

    def _word(self, node: Node, *, inside: bool) -> str | None:
        kind = DESCRIBED[node.kind]
        return (kind.inside if inside else kind.past)(node, self.subject.values[node.index])

    def _choice(self, node: Node) -> None:
        for branch in node.children:
            self._into(branch, f"n{node.index}", self._word(branch, inside=True) or "")
        self._past(node)

    def _loop(self, node: Node) -> None:
        self._into(node, f"n{node.index}", self._word(node, inside=True) or "")
        self._past(node)

    def _spawn(self, node: Node) -> None:
        self._dotted(f"n{node.index}", f"b{node.index}")
        self._into(node, f"b{node.index}")
        self._onwards(node)

    def _wait(self, node: Node) -> None:
        for event in node.children:
            self._dotted(f"n{node.index}", f"n{event.index}")

    def _event(self, node: Node) -> None:
        if node.index not in self.failing:
            self._into(node, f"n{node.index}")

    def _guard(self, node: Node) -> None:
        self._into(node, f"n{node.index}")
        for catch in node.catches:
            goal = self.ways.goal(catch.entry, catch)
            words = (self._word(catch, inside=True) or "", self.jumps.in_body(catch))
            self._lead(f"n{node.index}", goal, *words, dotted=True)
        if node.final is not None:
            self._lead(
                f"n{node.index}", Goal(f"n{node.final.index}"), "other failures" if node.catches else "failures", dotted=True
            )

    def _final(self, node: Node) -> None:
        self._into(node, f"n{node.index}")
        exits = self.ways.exits.get(node.index)
        if exits is not None:
            assert node.parent is not None  # it stands in its Try
            onwards = self.ways.goal(node.parent.next, node.parent)
            passes = (node.index, *onwards.passes)
            self._lead(f"f{node.index}", onwards._replace(passes=passes), "its end", self.jumps.behind(node))
            for word, goal in exits.items():
                self._lead(f"f{node.index}", goal, word)

    def _fork(self, node: Node) -> None:
        for branch in self._branches(node):
            self._dotted(f"n{node.index}", f"b{branch.index}")
            self._into(branch, f"b{branch.index}")
        # Its thread gets there even where none of its branches comes to its end.
        self._dotted(f"n{node.index}", f"j{node.index}", shown=False)
        self._onwards(node, "j")

    def _ended(self, node: Node) -> None:
        """A Return: an end of its own, unless something has to be done first, or somebody waits."""
        goal = self.ways.out_of(node)
        end = end_of(node.go)
        if goal is not None:
            self._lead(f"n{node.index}", goal)
        elif end.box.startswith("j"):
            self._lead(f"n{node.index}", end)

    def _joined(self, join: Node) -> None:
        """From wherever a thread ends that a Join waits for."""
        names = set(join.go_names.values())
        targets = {arrow.goal.box for arrow in self.arrows}
        for node in self.nodes:
            end = end_of(node).box
            if self.manners[node.index] is Drawn.SPAWN and node.name in names and end in targets:
                self._dotted(end, f"n{join.index}", leads=False)
            elif self.manners[node.index] is Drawn.END and node.thread_name in names and self.ways.out_of(node) is None:
                self._dotted(f"n{node.index}", f"n{join.index}", leads=False)


_ARROWS: Mapping[Drawn, Callable[[_Chart, Node], None]] = {
    Drawn.ACTION: _Chart._onwards,
    Drawn.CONCURRENT: _Chart._onwards,
    Drawn.STOP: _Chart._onwards,
    Drawn.JOIN: _Chart._onwards,
    Drawn.CHOICE: _Chart._choice,
    Drawn.LOOP: _Chart._loop,
    Drawn.SPAWN: _Chart._spawn,
    Drawn.WAIT: _Chart._wait,
    Drawn.EVENT: _Chart._event,
    Drawn.TIMER: _Chart._event,
    Drawn.GUARD: _Chart._guard,
    Drawn.FINALLY: _Chart._final,
    Drawn.FORK: _Chart._fork,
    Drawn.END: _Chart._ended,
}
"""The arrows that begin at a statement."""


def _drawn(arrow: Arrow) -> str:
    line = "-.->" if arrow.dotted else "-->"
    words = f'|"{label([arrow.words], ARROW)}"|' if arrow.words else ""
    return f"{arrow.source} {line}{words} {arrow.goal.box}"


def _framed(node: Node, inside: list[str]) -> list[str]:
    return [f'subgraph s{node.index}[" "]', *_indented(inside), "end", f"class s{node.index} scope"]


def _marked(marks: list[Mark]) -> list[str]:
    """A line for the threads at one place, or one for each thing that they are about if they are few."""
    if len(marks) > FEW:
        moves = all(mark.status == RESUMING for mark in marks)
        return [f"● {who(marks)}{', moving on' if moves else ''}"]
    said: dict[str, list[Mark]] = {}
    for mark in marks:
        said.setdefault(", ".join(["", *_doing(mark)]), []).append(mark)
    return [f"● {who(group)}{words}" for words, group in said.items()]


def _doing(mark: Mark) -> list[str]:
    found = [] if mark.error is None else [mark.said_attempt()]
    found += [] if mark.branches is None else [str(mark.branches)]
    doing = mark.doing() or ("moving on" if mark.status == RESUMING else None)
    return found if doing is None else [*found, doing]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]
