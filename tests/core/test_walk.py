"""What can be known of a definition without running it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from flowstmt import Break, DefinitionError, Event, For, Go, If, On, S, Statement, Step, Timeout, Wait, find, walk


def tree() -> Statement:
    return S(
        For("l", Step("a", print), If("c", True, Break()).else_if("d", True).else_(Step("b", print))),
        Go("t", Wait("w", On(Event("e", int), Step("x", print)), Timeout("late", timedelta(1)))),
    )


def test_walk_gives_every_statement_in_the_order_of_the_source():
    assert [repr(statement) for statement in walk(tree())] == [
        "S()",
        "For('l')",
        "Step('a')",
        "If('c')",
        "Case('c')",
        "Break()",
        "Case('d')",
        "Default()",
        "Step('b')",
        "Go('t')",
        "Wait('w')",
        "On('e')",
        "Step('x')",
        "Timeout('late')",
    ]


def test_a_token_holds_the_types_of_its_payload_and_output():
    token: Event[int, str] = Event("paid", int, str)
    assert (token.name, token.payload, token.output) == ("paid", int, str)
    untyped: Event[Any, Any] = Event("paid")
    assert (untyped.payload, untyped.output) == (None, None)


def test_walk_passes_over_what_is_no_statement():
    assert [repr(statement) for statement in walk(S("text", S()))] == ["S()", "S()"]  # type: ignore[arg-type]


def test_find_gives_the_first_statement_or_event_of_a_name():
    assert isinstance(find(tree(), "e"), On)
    assert isinstance(find(tree(), "c"), If)
    assert find(tree(), "nowhere") is None


def test_an_event_shows_its_name():
    assert repr(Event("paid", int)) == "Event('paid')"


def test_an_if_that_is_extended_leaves_the_first_one_as_it_was():
    first = If("a", True)
    first.else_if("b", True)
    first.else_()
    assert len(first.body) == 1


def test_walk_wants_a_statement():
    with pytest.raises(DefinitionError, match="expected a statement"):
        list(walk(5))  # type: ignore[arg-type]


def test_a_node_shows_its_place():
    from flowstmt.core.program import program_for

    @dataclass
    class Work:
        def definition(self) -> Statement:
            return S(For("l", Step("a", print)))

    program, _ = program_for(Work(), "run")
    assert repr(program.by_name["a"]) == "<Step 'a' in For 'l'>"
