"""A run that meets a definition in which everything has another name goes on as if nothing had been renamed.

Random trees are run, killed at random instants, and loaded into a class whose statements and events all have new names,
with the old ones in ``was``. New names are old ones with a mark, so what came of a run can be compared to the last byte
once the marks are gone. The script, which stands for the world outside, knows old names only.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import flowstmt as fl
from flowstmt.core import joins
from flowstmt.core.state import birth_of
from tests.meaning.flows import Played, Player, Record, Style, expected, flow_class
from tests.meaning.test_meaning import SCRIPTS, STARTS, STYLES, tell, thorough
from tests.meaning.trees import Body, Branch, Gather, Node, Taste, trees

MARK = "~"


def mark(name: str) -> str:
    return "/".join(part and part + MARK for part in name.split("/"))


def marked(value: Any) -> Any:
    """A tree in which every name bears the mark, those of scopes too."""
    if isinstance(value, tuple):
        return tuple(map(marked, value))
    if not isinstance(value, Node):
        return value
    assert is_dataclass(value)
    changes = {each.name: marked(getattr(value, each.name)) for each in fields(value)}
    changes["name"] = mark(value.name)
    if isinstance(value, Branch):
        changes["cases"] = tuple((mark(name), cond, marked(body)) for name, cond, body in value.cases)
    if isinstance(value, Gather):
        changes["go_names"] = tuple(map(mark, value.go_names))
    return replace(value, **changes)


def with_old_names(definition: fl.Statement) -> fl.Statement:
    """What a tree of marked names was before."""
    statements: list[Any] = list(fl.walk(definition))
    # The first branch of an If bears the If's own name.
    firsts = [id(statement.body[0]) for statement in statements if isinstance(statement, fl.If)]
    for statement in statements:
        if statement.name and id(statement) not in firsts:
            statement.was = (statement.name.removesuffix(MARK),)
    return definition


def renamed_class(tree: Body, record: Record, style: Style, is_async: bool) -> type[Any]:
    cls: Any = flow_class(marked(tree), record, style, is_async)
    built = cls.definition

    def of_instance(self: Any) -> fl.Statement:
        return with_old_names(built(self))

    def of_class(cls: type[Any]) -> fl.Statement:
        return with_old_names(built())

    cls.definition = of_instance if style == "instance" else classmethod(of_class)
    return cls


def unmarked(value: Any) -> Any:
    """What came of a run, without the marks."""
    if isinstance(value, str):
        return value.replace(MARK, "")
    if isinstance(value, bytes):
        return value.replace(MARK.encode(), b"")
    if isinstance(value, tuple | list):
        return type(value)(unmarked(part) for part in value)
    if isinstance(value, dict):
        return {unmarked(key): unmarked(part) for key, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: unmarked(getattr(value, each.name)) for each in fields(value)})
    return value


def same_but_for_names(direct: Played, other: Played, later: Record) -> None:
    """``later``: what the renamed class did, whose effects bear new names."""
    found, effects = unmarked(other), unmarked(later.effects)
    for key in effects.keys() & found.effects.keys():
        assert effects[key] == found.effects[key], "one idempotency key, two different effects"
    for said, did in zip(direct.outcomes, found.outcomes, strict=True):
        assert did == said
    assert found.trace == direct.trace
    assert found.blobs == direct.blobs
    assert found.final == direct.final
    assert found.effects | effects == direct.effects


@pytest.fixture(autouse=True)
def births_of_old_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that is started after the renaming is born under its new name; its birth could not be compared."""
    monkeypatch.setattr(joins, "birth_of", lambda parent, pc, thread_id: birth_of(parent, pc, unmarked(thread_id)))


@thorough
@given(
    tree=st.one_of(trees(Taste()), trees(Taste(threads=True, waits=6, size=24))),
    start=STARTS,
    script=SCRIPTS,
    style=STYLES,
    is_async=st.booleans(),
    when=st.integers(0, 9999),
)
def test_a_run_goes_on_under_new_names_from_any_checkpoint(tree, start, script, style, is_async, when):
    says = expected(tree, start, script)
    tell(says)
    direct = Player(tree, start, style, is_async=is_async).play(says.calls, says.stuck)
    fatal = 1 + when % (direct.moments + 1)

    def kills(moment: int, kind: str) -> bool:
        if moment == fatal:
            event(f"renamed {kind}")
            later.trace = player.record.trace
            player.cls = renamed_class(tree, later, style, is_async)
        return moment == fatal

    player, later = Player(tree, start, style, is_async=is_async, kills=kills), Record()
    same_but_for_names(direct, player.play(says.calls, says.stuck), later)
