"""A definition as a Mermaid flowchart.

Theory: the arrows are the links of the program, so what is drawn is what the machine does: a loop is closed where the body's
last statement leads back, a Break is an arrow to what follows its loop. Jumps are gone after linking; the tree, walked in the
order of the source, says at which arrows they stood, and that is all it is asked for.

Threads are frames of their own, as are scopes. Boxes are numbered, so no name can be taken for a word of Mermaid's.

What this module must not know: what statements are called or what they hold (``kinds.py``). A new statement needs a line here
only if none of the manners of drawing fits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flowstmt.core.nodes import End, Leave, Node
from flowstmt.core.state import OVER, RESUMING, State
from flowstmt.describe.kinds import DESCRIBED, Drawn
from flowstmt.describe.labels import label
from flowstmt.describe.marks import Standing, standing, who
from flowstmt.describe.subjects import Subject, subject_of
from flowstmt.describe.wording import shown

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
    Drawn.END: ("([", "])"),
}

_STYLES: Mapping[str, str] = {
    # Each fill with the colour of its words: the page around may be dark or light.
    "here": "fill:#ffd33d,stroke:#9a6700,stroke-width:3px,color:#1f2328",
    "over": "fill:#1a7f37,stroke:#116329,color:#ffffff",
    "scope": "fill:transparent,stroke:#8b949e,stroke-dasharray:6 4",
    "unreached": "stroke-dasharray:4 4",
}


def to_mermaid(subject: Any, state: State | None = None) -> str:
    """A definition as a Mermaid flowchart; with a state, the positions of its live threads are marked, and a run that is over.

    Rectangles are steps, diamonds are branches, hexagons are loops, rounded boxes are where threads wait, flags are events and
    slanted boxes are timeouts. Threads are drawn apart, each beginning with its name.

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
        self.arrows: list[str] = []
        # By index of the Go whose thread ends there; main's is -1.
        self.ends: dict[int, str] = {}
        self.manners = {node.index: DESCRIBED[node.kind].manner(subject.values[node.index]) for node in self.nodes}
        self.jumps = dict(self._jumps([subject.root], None))
        self.reached: set[int] = set()
        self._reach(subject.program.start)

    @property
    def nodes(self) -> list[Node]:
        return self.subject.program.nodes

    def lines(self) -> list[str]:
        """The whole text."""
        self._arrow("start", self.subject.program.start, self._jump_at([self.subject.root], None))
        for node in self.nodes:
            draw = _ARROWS.get(self.manners[node.index])
            if draw is not None:
                draw(self, node)
        for node in self.nodes:
            if self.manners[node.index] is Drawn.JOIN:
                self._joined(node)
        over = self.state is not None and self.state.status in OVER
        lines = [
            f'start(["{self._start()}"]){":::over" if over else ":::here" if -1 in self.marks else ""}',
            *self._boxes(self.subject.root),
            *self._end(-1),
            *[line for node in self.nodes if self.manners[node.index] is Drawn.SPAWN for line in self._thread(node)],
            *self.arrows,
        ]
        styles = [
            f"classDef {name} {style}"
            for name, style in _STYLES.items()
            if any(line.endswith((f":::{name}", f" {name}")) for line in lines)
        ]
        return ["flowchart TD", *_indented([*lines, *styles])]

    # --- boxes ---

    def _boxes(self, node: Node) -> list[str]:
        """The boxes of a statement and of all inside that runs in the same thread."""
        manner = self.manners[node.index]
        own = [self._box(node, manner)] if manner in _BOXES else []
        if manner is Drawn.SPAWN:
            return own
        inside = [line for child in node.children for line in self._boxes(child)]
        if manner is Drawn.FRAME and inside:
            # Its name is in those of its statements: a title would be crossed by the arrow that leads in.
            return [f'subgraph s{node.index}[" "]', *_indented(inside), "end", f"class s{node.index} scope"]
        return [*own, *inside]

    def _box(self, node: Node, manner: Drawn) -> str:
        opening, closing = _BOXES[manner]
        lines = DESCRIBED[node.kind].label(node, self.subject.values[node.index])
        threads = [] if manner is Drawn.SPAWN else self.marks.get(node.index, [])
        words = label([*lines, *_marked(threads)], NARROW if manner is Drawn.CHOICE else WIDTH)
        style = ":::here" if threads else "" if node.index in self.reached else ":::unreached"
        return f'n{node.index}{opening}"{words}"{closing}{style}'

    def _thread(self, go: Node) -> list[str]:
        threads = self.marks.get(go.index, [])
        words = label([f"thread {go.name}", *_marked(threads)], WIDTH)
        inside = [
            f'b{go.index}(["{words}"]){":::here" if threads else ""}',
            *[line for child in go.children for line in self._boxes(child)],
            *self._end(go.index),
        ]
        # Its name is in its first box: a title would be crossed by the arrow that leads there.
        return [f'subgraph t{go.index}[" "]', *_indented(inside), "end"]

    def _start(self) -> str:
        lines = [self.subject.name]
        state = self.state
        if state is not None:
            lines.append(f"run {state.run_id}: {state.status}")
            if state.result is not None:
                lines.append(f"result {shown(state.result)}")
        return label([*lines, *_marked(self.marks.get(-1, []))], WIDTH)

    def _end(self, go: int) -> list[str]:
        return [f'{self.ends[go]}(["end"])'] if go in self.ends else []

    # --- arrows ---

    def _arrow(self, source: str, target: Node, *words: str) -> None:
        target = _resolved(target)
        if target.kind is End:
            go = target.parent.index if target.parent is not None else -1
            name = self.ends.setdefault(go, f"e{go}" if go >= 0 else "done")
        else:
            name = f"n{target.index}"
        said = ", ".join(word for word in words if word)
        self.arrows.append(f'{source} -->|"{label([said], ARROW)}"| {name}' if said else f"{source} --> {name}")

    def _onwards(self, node: Node) -> None:
        self._arrow(f"n{node.index}", node.next, self.jumps.get((node.index, "next"), ""))

    def _into(self, node: Node, source: str, word: str = "") -> None:
        self._arrow(source, node.entry, word, self.jumps.get((node.index, "entry"), ""))

    def _past(self, node: Node) -> None:
        """What follows without having been inside, where that can happen."""
        word = self._word(node, inside=False)
        if word is not None:
            self._arrow(f"n{node.index}", node.next, word, self.jumps.get((node.index, "next"), ""))

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
        self.arrows.append(f"n{node.index} -.-> b{node.index}")
        self._into(node, f"b{node.index}")
        self._onwards(node)

    def _wait(self, node: Node) -> None:
        for event in node.children:
            self.arrows.append(f"n{node.index} -.-> n{event.index}")

    def _event(self, node: Node) -> None:
        self._into(node, f"n{node.index}")

    def _joined(self, join: Node) -> None:
        """From wherever a thread ends that a Join waits for."""
        names = set(join.go_names.values())
        for node in self.nodes:
            if self.manners[node.index] is Drawn.SPAWN and node.name in names and node.index in self.ends:
                self.arrows.append(f"{self.ends[node.index]} -.-> n{join.index}")
            elif self.manners[node.index] is Drawn.END and node.thread_name in names:
                self.arrows.append(f"n{node.index} -.-> n{join.index}")

    # --- what the tree says beyond the links ---

    def _jumps(self, nodes: Sequence[Node], after: Node | None) -> Iterator[tuple[tuple[int, str], str]]:
        """The jumps that stand directly behind statements (next), or first in bodies (entry).

        ``after`` is what follows the last of the nodes in the same thread and the same round of its loop.
        """
        for i, node in enumerate(nodes):
            manner = self.manners[node.index]
            following = self._first(nodes[i + 1 :], after)
            yield (node.index, "next"), self._jump(following)
            if manner in _GROUPS:
                yield from self._jumps(node.children, following)
            elif manner in (Drawn.CHOICE, Drawn.WAIT):
                for branch in node.children:
                    yield (branch.index, "entry"), self._jump_at(branch.children, following)
                    yield from self._jumps(branch.children, following)
            else:
                yield (node.index, "entry"), self._jump_at(node.children, None)
                yield from self._jumps(node.children, None)

    def _first(self, nodes: Iterable[Node], after: Node | None) -> Node | None:
        """Where a thread gets to that enters at the first of these nodes."""
        for node in nodes:
            found = self._first(node.children, None) if self.manners[node.index] in _GROUPS else node
            if found is not None:
                return found
        return after

    def _jump_at(self, nodes: Iterable[Node], after: Node | None) -> str:
        return self._jump(self._first(nodes, after))

    def _jump(self, node: Node | None) -> str:
        return node.kind.__name__ if node is not None and self.manners[node.index] is Drawn.ARROW else ""

    def _reach(self, start: Node) -> None:
        """Find all statements that a thread can get to."""
        todo = [start]
        while todo:
            node = _resolved(todo.pop())
            if node.kind is End or node.index in self.reached:
                continue
            self.reached.add(node.index)
            manner = self.manners[node.index]
            if manner in (Drawn.CHOICE, Drawn.WAIT):
                self.reached.update(branch.index for branch in node.children)
                todo.extend(branch.entry for branch in node.children)
            elif manner in (Drawn.LOOP, Drawn.SPAWN):
                todo.append(node.entry)
            if manner not in (Drawn.WAIT, Drawn.END) and self._word(node, inside=False) is not None:
                todo.append(node.next)


_GROUPS = frozenset((Drawn.NOTHING, Drawn.FRAME))

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
}
"""The arrows that begin at a statement."""


def _resolved(node: Node) -> Node:
    """Where an arrow ends: leaving a loop's frame behind is nothing that is drawn."""
    while node.kind is Leave:
        node = node.next
    return node


def _marked(threads: list[tuple[str, str]]) -> list[str]:
    if not threads:
        return []
    moves = all(status == RESUMING for _, status in threads)
    return [f"● {who(threads)}{', moving on' if moves else ''}"]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]
