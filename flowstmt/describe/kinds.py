"""How each kind of statement is described: the one table to which a new statement adds a line.

``details`` are its keys in JSON, beside ``type``, ``name``, ``was`` and ``children``. ``line`` is its line of text. ``drawn``
is its manner in a picture, out of those that ``charts.py`` knows; ``label`` is what its box says.

The order of keys and the words are part of what users compare: change them as you would change an interface.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from flowstmt.core.approvals import Approval
from flowstmt.core.children import Call
from flowstmt.core.events import via_of
from flowstmt.core.fanout import Branch, Map, Parallel
from flowstmt.core.nodes import Node
from flowstmt.core.recovery import Catch, Fail, Finally, Saga, Try
from flowstmt.core.statements import (
    Break,
    Case,
    Continue,
    Default,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Scope,
    Sleep,
    Statement,
    Step,
    Switch,
    Timeout,
    Wait,
    WaitFor,
)
from flowstmt.core.waits import Every, When
from flowstmt.describe.approvals import approval_details, approval_words, failing_cases
from flowstmt.describe.joins import at_once, join_details, join_rules, said_rule, unusual_rules
from flowstmt.describe.manners import Drawn, Kind
from flowstmt.describe.wording import (
    called,
    into,
    kind_of,
    said_errors,
    said_retry,
    said_type,
    shown,
    span,
    told,
    told_condition,
    told_errors,
    told_retry,
)

__all__ = ["DESCRIBED", "via_name"]


def _nothing(node: Node, statement: Any) -> dict[str, Any]:
    return {}


def _line(node: Node, *parts: str | None) -> str:
    """Type and name, then what is to be said about it."""
    head = f"{node.kind.__name__} {node.name}" if node.name else node.kind.__name__
    said = ", ".join(part for part in parts if part)
    return f"{head}: {said}" if said else head


def _kept(target: Any) -> str | None:
    return None if target is None else f"into {into(target)}"


def _asked(cond: Any, word: str = "") -> str | None:
    return f"{word} {called(cond)}".strip() if callable(cond) else None


def via_name(statement: On) -> str | None:
    """What sets an event up and tears it down, by the name that its state has."""
    via = via_of(statement)
    return None if via is None else str(getattr(via, "type", None) or kind_of(via))


def _handler(statement: On | WaitFor) -> str | None:
    handler = statement.handler
    if handler is None:
        return None
    return called(handler) if callable(handler) else f"{kind_of(handler)}.handle"


def _function(name: str | None) -> dict[str, Any] | None:
    return None if name is None else {"function": name}


def _if_of(branch: Node) -> Node | None:
    """The If that a branch belongs to; None if that is a Switch."""
    return branch.parent if branch.parent is not None and branch.parent.kind is If else None


def _is_only_case(branch: Node) -> bool:
    """Whether a branch belongs to an If that asks one condition: yes or no."""
    around = _if_of(branch)
    return around is not None and _cases(around) == 1


def _cases(choice: Node) -> int:
    return sum(branch.kind is Case for branch in choice.children)


def _try_of(final: Node) -> str:
    assert final.parent is not None  # it stands in its Try
    return final.parent.name


def _no_branch(choice: Node, statement: Any) -> str | None:
    if choice.children[-1].kind is Default:
        return None
    return "no" if choice.kind is If and _cases(choice) == 1 else "else"


def _case_line(node: Node, statement: Case) -> str:
    around = _if_of(node)
    if around is None:
        return _line(node, _asked(statement.cond))
    word = "then" if node is around.children[0] else f"else if {node.name}"
    return f"{word}: {called(statement.cond)}" if callable(statement.cond) else word


def _for_line(node: Node, statement: For) -> str:
    while_ = "until Break" if statement.forever else _asked(statement.cond, "while") or "while its condition holds"
    return _line(node, while_, _rounds(statement))


def _rounds(statement: For) -> str | None:
    count = statement.max_iterations
    return None if count is None else f"at most {count} {'round' if count == 1 else 'rounds'}"


def _step_details(node: Node, statement: Step) -> dict[str, Any]:
    return {
        "action": told(statement.action),
        "into": into(statement.into),
        "concurrent": node.concurrent,
        "transactional": node.transactional,
        "inline": node.inline,
        "retry": told_retry(statement.retry),
        "timeout": told(statement.timeout),
        "compensate": told(statement.compensate),
    }


def _step_line(node: Node, statement: Step) -> str:
    undo = statement.compensate
    return _line(
        node,
        called(statement.action),
        _kept(statement.into),
        "concurrent" * node.concurrent,
        "transactional" * node.transactional,
        "inline" * node.inline,
        *_limits(statement),
        None if undo is None else f"undone by {called(undo)}",
    )


def _step_label(node: Node, statement: Step) -> list[str]:
    undo = statement.compensate
    return [
        node.name,
        *_lines(_kept_briefly(statement.into), "concurrent" * node.concurrent, "transactional" * node.transactional),
        *_limits(statement),
        *_lines(None if undo is None else f"undo: {_brief(undo, 'a function')}"),
    ]


def _limits(statement: Step) -> list[str]:
    """How often a step is tried, and how long."""
    retry, timeout = statement.retry, statement.timeout
    return _lines(None if retry is None else said_retry(retry), None if timeout is None else f"within {span(timeout)}")


def _items(node: Node, statement: ForEach | Map) -> dict[str, Any]:
    return {
        "items": told_condition(statement.items),
        "item_type": said_type(node.own_item.type) if node.own_item else None,
    }


def _map_line(node: Node, statement: Map) -> str:
    key = None if statement.key is None else f"key {called(statement.key)}"
    return _line(node, _asked(statement.items), at_once(statement), key, *unusual_rules(statement), _kept(statement.into))


def _join_label(node: Node, statement: Parallel | Map) -> list[str]:
    return [f"join: {node.name}", *join_rules(statement), *_lines(_kept_briefly(statement.into))]


def _go_line(node: Node, statement: Go) -> str:
    name = None if statement.id is None else f"id {shown(statement.id)}"
    arg = None if statement.arg is None else f"arg {shown(statement.arg)}"
    return _line(node, name, arg)


def _on_line(node: Node, statement: Any) -> str:
    via = via_name(statement)
    via = None if via is None else f"via {via}"
    return _line(node, _handler(statement), _kept(statement.into), via, "stays" * statement.stay)


def _called_workflow(statement: Call) -> dict[str, str]:
    made = statement.workflow
    return {"type": kind_of(made)} if hasattr(type(made), "definition") else {"function": called(made)}


def _child(statement: Call, words: Callable[[Any], str]) -> str:
    """Which workflow a Call starts, or what makes it."""
    made = statement.workflow
    return kind_of(made) if hasattr(type(made), "definition") else words(made)


def _awaited(node: Node, statement: Join) -> list[str]:
    return [node.go_names.get(name, name) for name in statement.go_names]


def _after(value: Any) -> str:
    """When a timer fires, as words that follow its name."""
    words = shown(value)
    return words if callable(value) else f"until {words}" if isinstance(value, datetime) else f"after {words}"


def _brief(value: Any, computed: str, words: Callable[[Any], str] = shown) -> str:
    """For pictures, where a lambda's place says nothing: a named function is told by its own name."""
    if not callable(value):
        return words(value)
    name = called(value)
    return computed if "lambda" in name else name.rpartition(".")[2]


def _kept_briefly(target: Any) -> str | None:
    return None if target is None else f"into {target if isinstance(target, str) else _brief(target, 'a setter')}"


def _on_label(node: Node, statement: Any) -> list[str]:
    via = via_name(statement)
    return [node.name, *_lines(_kept_briefly(statement.into), None if via is None else f"via {via}", "stays" * statement.stay)]


def _lines(*lines: str | None) -> list[str]:
    return [line for line in lines if line]


DESCRIBED: Mapping[type[Statement[Any, Any, Any]], Kind] = {
    Step: Kind(_step_details, _step_line, lambda s: Drawn.CONCURRENT if s.concurrent else Drawn.ACTION, _step_label),
    S: Kind(_nothing, lambda node, s: _line(node), Drawn.NOTHING),
    Scope: Kind(_nothing, lambda node, s: _line(node), Drawn.FRAME, lambda node, s: [node.name]),
    If: Kind(
        _nothing,
        lambda node, s: _line(node),
        Drawn.CHOICE,
        lambda node, s: ["If" if _cases(node) > 1 else f"{node.name.removesuffix('?')}?"],
        past=_no_branch,
    ),
    Switch: Kind(_nothing, lambda node, s: _line(node), Drawn.CHOICE, lambda node, s: ["Switch"], past=_no_branch),
    Case: Kind(
        lambda node, s: {"condition": told_condition(s.cond)},
        _case_line,
        Drawn.NOTHING,
        inside=lambda node, s: "yes" if _is_only_case(node) else node.name,
    ),
    Default: Kind(
        _nothing,
        lambda node, s: "default" if _if_of(node) is None else "else",
        Drawn.NOTHING,
        inside=lambda node, s: "no" if _is_only_case(node) else "else",
    ),
    For: Kind(
        lambda node, s: {
            "condition": None if s.forever else told_condition(s.cond),
            "max_iterations": s.max_iterations,
        },
        _for_line,
        Drawn.LOOP,
        lambda node, s: [f"{'loop' if s.forever else 'while'}: {node.name}", *_lines(_rounds(s))],
        inside=lambda node, s: "" if s.forever else "yes",
        past=lambda node, s: None if s.forever else "no",
    ),
    ForEach: Kind(
        _items,
        lambda node, s: _line(node, _asked(s.items)),
        Drawn.LOOP,
        lambda node, s: [f"for each: {node.name}"],
        inside=lambda node, s: "next item",
        past=lambda node, s: "no more",
    ),
    Break: Kind(_nothing, lambda node, s: _line(node), Drawn.ARROW),
    Continue: Kind(_nothing, lambda node, s: _line(node), Drawn.ARROW),
    Return: Kind(
        lambda node, s: {"value": told(s.value)},
        lambda node, s: "Return" if s.value is None else f"Return {shown(s.value)}",
        Drawn.END,
        lambda node, s: ["Return" if s.value is None else f"Return {_brief(s.value, 'a value')}"],
    ),
    Go: Kind(
        lambda node, s: {"id": told(s.id), "arg": told(s.arg)},
        _go_line,
        Drawn.SPAWN,
        lambda node, s: [f"start {node.name}", *_lines(None if s.id is None else "one for each id")],
    ),
    Join: Kind(
        lambda node, s: {"threads": _awaited(node, s)},
        lambda node, s: _line(node, f"waits for {', '.join(_awaited(node, s))}"),
        Drawn.JOIN,
        lambda node, s: [f"join: {node.name}", f"waits for {', '.join(_awaited(node, s))}"],
    ),
    Wait: Kind(_nothing, lambda node, s: _line(node), Drawn.WAIT, lambda node, s: [f"wait: {node.name}"]),
    On: Kind(
        lambda node, s: {"handler": _function(_handler(s)), "into": into(s.into), "via": via_name(s), "stay": s.stay},
        _on_line,
        Drawn.EVENT,
        _on_label,
    ),
    Approval: Kind(
        approval_details,
        lambda node, s: _line(node, *approval_words(node, s)),
        Drawn.WAIT,
        lambda node, s: [f"approval: {node.name}", said_rule(s.need), *_lines(_kept_briefly(s.into))],
        fails=failing_cases,
    ),
    Timeout: Kind(
        lambda node, s: {"after": told(s.after)},
        lambda node, s: _line(node, _after(s.after)),
        Drawn.TIMER,
        lambda node, s: [node.name, _brief(s.after, "after some time", _after)],
    ),
    Every: Kind(
        lambda node, s: {"period": told(s.period)},
        lambda node, s: _line(node, shown(s.period)),
        Drawn.TIMER,
        lambda node, s: [node.name, _brief(s.period, "again and again", lambda period: f"every {shown(period)}")],
    ),
    When: Kind(
        lambda node, s: {"condition": told_condition(s.cond)},
        lambda node, s: _line(node, _asked(s.cond)),
        Drawn.EVENT,
        lambda node, s: [f"when: {node.name}"],
    ),
    Call: Kind(
        lambda node, s: {"workflow": _called_workflow(s), "into": into(s.into)},
        lambda node, s: _line(node, _child(s, called), _kept(s.into)),
        Drawn.STOP,
        lambda node, s: [
            f"call: {node.name}",
            *_lines(_child(s, lambda made: _brief(made, "a workflow")), _kept_briefly(s.into)),
        ],
    ),
    WaitFor: Kind(
        lambda node, s: {"condition": told_condition(s.cond), "handler": _function(_handler(s))},
        lambda node, s: _line(node, _asked(s.cond), None if s.handler is None else f"then {_handler(s)}"),
        Drawn.STOP,
        lambda node, s: [f"wait until: {node.name}"],
    ),
    Sleep: Kind(
        lambda node, s: {"duration": told(s.duration)},
        lambda node, s: _line(node, _after(s.duration).removeprefix("after ")),
        Drawn.STOP,
        lambda node, s: [f"sleep: {node.name}", _brief(s.duration, "for some time", _after).removeprefix("after ")],
    ),
    Try: Kind(_nothing, lambda node, s: _line(node), Drawn.GUARD, lambda node, s: [f"try: {node.name}"]),
    Catch: Kind(
        lambda node, s: {"errors": told_errors(s.errors), "into": into(s.into)},
        lambda node, s: ", ".join(_lines(f"catch {said_errors(s.errors)}", _kept(s.into))),
        Drawn.CATCH,
        inside=lambda node, s: said_errors(s.errors, lambda predicate: _brief(predicate, "a condition")),
    ),
    Finally: Kind(_nothing, lambda node, s: "finally", Drawn.FINALLY, lambda node, s: [f"finally: {_try_of(node)}"]),
    Fail: Kind(
        lambda node, s: {"message": told(s.message)},
        lambda node, s: _line(node, shown(s.message)),
        Drawn.FAILURE,
        lambda node, s: [f"fail: {node.name}"],
    ),
    Saga: Kind(_nothing, lambda node, s: _line(node), Drawn.GUARD, lambda node, s: [f"saga: {node.name}"]),
    Parallel: Kind(
        lambda node, s: join_details(s),
        lambda node, s: _line(node, *unusual_rules(s), _kept(s.into)),
        Drawn.FORK,
        lambda node, s: [f"parallel: {node.name}"],
        join=_join_label,
    ),
    Branch: Kind(_nothing, lambda node, s: _line(node), Drawn.BRANCH, thread=lambda node, s: f"branch {node.name}"),
    Map: Kind(
        lambda node, s: _items(node, s) | {"key": told(s.key), "max_concurrency": s.max_concurrency} | join_details(s),
        _map_line,
        Drawn.FORK,
        lambda node, s: [f"map: {node.name}", *_lines(at_once(s))],
        thread=lambda node, s: f"each of {node.name}",
        join=_join_label,
    ),
}
"""How each kind of ``KINDS`` is described."""
