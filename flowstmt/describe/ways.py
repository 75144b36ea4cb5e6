"""Where an arrow of a picture leads: the links of the program, from box to box.

Theory: most links are arrows as they are. What is between two boxes and is none itself is passed by: the end of a frame, the
end of a finally, the way back to a Wait. A jump or a Return on whose way there are finallys leads to the first of them; from
the end of that it goes on to the next, and at last to where it was bound for. The tree says which these are, by the rules of
``unwinding.py``.

A box is called by a letter and the index of its statement: ``n`` the statement itself, ``b`` the beginning of the thread that
it starts, ``e`` the end of that, ``j`` where its threads meet again, ``f`` the end of its finally; ``start`` and ``done`` are
main's.

What this module must not know: how anything is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from flowstmt.core.fanout import Branch, Map
from flowstmt.core.nodes import Back, End, FinallyEnd, Leave, Node, Unwind
from flowstmt.core.recovery import Finally, Try
from flowstmt.core.statements import Break, Continue, Return

__all__ = ["Arrow", "Goal", "Ways", "end_of", "reached"]


class Goal(NamedTuple):
    """Where a link leads: to a box.

    ``passes`` are the finallys past whose ends it goes; ``enters`` is the one that it enters, unless that is on the way out.
    """

    box: str
    passes: tuple[int, ...] = ()
    enters: int | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """From box to box. ``leads``: whether a thread goes there; ``shown``: whether it is drawn."""

    source: str
    goal: Goal
    words: str = ""
    dotted: bool = False
    leads: bool = True
    shown: bool = True


class Ways:
    """The ways of one definition."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        # For each finally that jumps and Returns pass on their way out: where they go on to, by their words.
        self.exits: dict[int, dict[str, Goal]] = {}
        jumps = [node for node in nodes if node.kind in (Break, Continue, Return)]
        passed = [(jump, list(_finallys_around(jump))) for jump in jumps]
        for _, finallys in passed:
            for final in finallys:
                self.exits[final.index] = {}
        for jump, finallys in passed:
            for i, final in enumerate(finallys):
                following = finallys[i + 1 :]
                self.exits[final.index][jump.kind.__name__] = _box_of(following[0]) if following else self._bound_for(jump)

    def _bound_for(self, jump: Node) -> Goal:
        """Where a jump or a Return goes in the end."""
        loop = jump.loop
        if jump.kind is Return or loop is None:
            return end_of(jump.go)
        return self.goal(loop if jump.kind is Continue else loop.leave or loop.next, jump)

    def out_of(self, end: Node) -> Goal | None:
        """Where a Return goes if anything has to be done on its way."""
        first = next(_finallys_around(end), None)
        return None if first is None else _box_of(first)

    def goal(self, link: Node, source: Node | None) -> Goal:
        """Where a link leads that begins at (or inside of) a statement; None is the beginning of main."""
        passes: list[int] = []
        while True:
            if link.kind is Leave or link.kind is Back:
                link = link.next
            elif link.kind is Unwind:
                assert link.parent is not None  # it was made with its jump
                return self.out_of(link.parent) or self._bound_for(link.parent)
            elif link.kind is FinallyEnd:
                assert link.parent is not None  # it was made with its Try
                final = link.parent.final
                assert final is not None
                if not _is_inside(source, final):
                    break
                if final.index in self.exits:
                    return Goal(f"f{final.index}", tuple(passes))
                passes.append(final.index)
                link = link.next
            elif link.kind is End:
                return end_of(link.parent)._replace(passes=tuple(passes))
            else:
                break
        entered = _entered(link, source)
        if entered is not None:
            return Goal(f"n{entered.index}", tuple(passes), entered.index)
        return Goal(f"n{link.index}", tuple(passes))


def end_of(go: Node | None) -> Goal:
    """Where the threads end that a statement starts; None: where main does."""
    if go is None:
        return Goal("done")
    if go.kind is Branch:
        assert go.parent is not None  # it stands in its Parallel
        return Goal(f"j{go.parent.index}")
    return Goal(f"{'j' if go.kind is Map else 'e'}{go.index}")


def _box_of(final: Node) -> Goal:
    return Goal(f"n{final.index}")


def _finallys_around(jump: Node) -> Iterator[Node]:
    """The finallys that a thread has to run which leaves for good, or leaves its loop, from the inside out."""
    until = None if jump.kind is Return else jump.loop
    for part, around in jump.outward():
        if around is until:
            return
        if around.kind is Try and part.kind is not Finally and around.final is not None:
            yield around.final


def _entered(link: Node, source: Node | None) -> Node | None:
    """The finally that a link enters, if it leads to the first statement inside of one from without."""
    if link.kind is FinallyEnd:
        assert link.parent is not None
        return link.parent.final
    return next((around for _, around in link.outward() if around.kind is Finally and not _is_inside(source, around)), None)


def _is_inside(node: Node | None, final: Node) -> bool:
    return node is not None and final.index <= node.index <= final.last


def reached(arrows: list[Arrow]) -> tuple[set[str], set[int]]:
    """The boxes that a thread can get to, and the finallys that it can enter otherwise than on its way out.

    Only past the ends of these it goes on.
    """
    found = {"start"}
    passed: set[int] = set()
    waiting = [arrow for arrow in arrows if arrow.leads]
    while True:
        left = []
        for arrow in waiting:
            if arrow.source in found and passed.issuperset(arrow.goal.passes):
                found.add(arrow.goal.box)
                if arrow.goal.enters is not None:
                    passed.add(arrow.goal.enters)
            else:
                left.append(arrow)
        if len(left) == len(waiting):
            return found, passed
        waiting = left
