"""At which arrows of a picture jumps stand: a Break and a Continue are no boxes, and after linking they are gone.

Told from the tree, walked in the order of the source: a jump stands at the arrow that leaves the statement right before it, or
at the one that leads into the body of which it is the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from flowstmt.core.nodes import Node
from flowstmt.describe.manners import Drawn
from flowstmt.describe.ways import Ways

__all__ = ["Jumps"]

_Place: TypeAlias = tuple[int, Literal["behind", "in body"]]

_GROUPS = frozenset((Drawn.NOTHING, Drawn.FRAME))
"""They are transparent: a thread is at once at what is inside."""


class Jumps:
    """The jumps of one definition: words for its arrows, empty where there is none."""

    def __init__(self, root: Node, manners: Mapping[int, Drawn], ways: Ways) -> None:
        self._manners = manners
        self._ways = ways
        self._words: dict[_Place, str] = dict(self._all([root], None))
        self.first = self._word(self._first([root], None))

    def behind(self, node: Node) -> str:
        """The jump that stands right behind a statement."""
        return self._words[node.index, "behind"]

    def in_body(self, node: Node) -> str:
        """The jump that its body begins with."""
        return self._words[node.index, "in body"]

    def _all(self, nodes: Sequence[Node], after: Node | None) -> Iterator[tuple[_Place, str]]:
        """All of these nodes and what is inside.

        ``after`` is what follows the last of the nodes in the same thread and the same round of its loop.
        """
        for i, node in enumerate(nodes):
            manner = self._manners[node.index]
            following = self._first(nodes[i + 1 :], after)
            yield (node.index, "behind"), self._word(following)
            if manner in _GROUPS:
                yield from self._all(node.children, following)
            elif manner in (Drawn.CHOICE, Drawn.WAIT):
                for branch in node.children:
                    yield from self._body(branch, branch.children, None if branch.stays else following)
            elif manner is Drawn.GUARD:
                yield from self._guarded(node, following)
            else:
                yield from self._body(node, node.children, None)

    def _guarded(self, node: Node, following: Node | None) -> Iterator[tuple[_Place, str]]:
        final = node.final
        beside = node.catches if final is None else [*node.catches, final]
        after = following if final is None else None
        yield from self._body(node, [child for child in node.children if child not in beside], after)
        for catch in node.catches:
            yield from self._body(catch, catch.children, after)
        if final is not None:
            yield (final.index, "behind"), self._word(following)
            yield from self._body(final, final.children, None if final.index in self._ways.exits else following)

    def _body(self, node: Node, body: Sequence[Node], after: Node | None) -> Iterator[tuple[_Place, str]]:
        yield (node.index, "in body"), self._word(self._first(body, after))
        yield from self._all(body, after)

    def _first(self, nodes: Iterable[Node], after: Node | None) -> Node | None:
        """Where a thread gets to that enters at the first of these nodes."""
        for node in nodes:
            found = self._first(node.children, None) if self._manners[node.index] in _GROUPS else node
            if found is not None:
                return found
        return after

    def _word(self, node: Node | None) -> str:
        return node.kind.__name__ if node is not None and self._manners[node.index] is Drawn.ARROW else ""
