"""Writes ``states.md``: the transition tables of ``flowstmt/core/state.py`` as diagrams, and what may be done from outside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from flowstmt import EventStatus, ThreadStatus, WorkflowStatus
from flowstmt.control import CONDITIONS, LEGALITY
from flowstmt.core.state import EVENT_TRANSITIONS, RUN_TRANSITIONS, THREAD_TRANSITIONS

PAGE = Path(__file__).with_name("states.md")

TEXT = Template("""\
# What a run, a thread and an event can become

Drawn by `make diagrams` from the transition tables in `flowstmt/core/state.py`: edit those, or `docs/draw_states.py`. The test
suite holds every status that is assigned against the same tables.

## Run

`Resuming`: something can run, call `resume`. `Waiting`: all threads are parked; `wake_at` says from when on `resume` could do
something by itself. `Paused`: somebody has stopped it, until somebody unpauses it. `Finished`: `main` returned. `Failed`: a
failure was final, and nothing took it. `Cancelled`: somebody told it to end. A run on its way to `Failed` or `Cancelled` is
`Resuming` or `Waiting` until what stands in `finally_` has run and all is undone that can be. A run that is over takes no
callbacks; `resume` only tears down what is left.
$spare
$run

## From outside

What may be done to a run of which status, and what becomes of it: `flowstmt.control.LEGALITY`, drawn. All else is a
`ControlError` that changes nothing. How each is used: [Control from outside](control.md).

$control

What else has to hold (`flowstmt.control.CONDITIONS`):

$conditions

## Thread

`Resuming` is the only status in which a thread moves by itself, from its position to the next stop. Each stop has a status of
its own, because what ends it differs: an action, an event, a condition, an instant. A thread that waits for its next attempt
waits for an instant, and is `Executing` again when that has come; one at a `Parallel` or `Map`, or past the end of `main`,
waits for other threads to end. When `main` returns or fails, all threads are told to end, and so are branches that are not
needed any more: those that are in a `finally_`, or have one around them, run that first. A thread that has `Ended` is kept only
until its events are torn down; it is dead to everybody else, and its id is free.

$thread

## Event

An event with something outside (`via`) is set up after the checkpoint that says so, and torn down after the checkpoint that
says so. A failure is kept and tried again by each `resume`; it never stops the run. An event whose setup has failed, or has not
run yet, can be called all the same. When its Wait has ended it is torn down, fired or not, set up or not: a setup may have
worked just before a crash. Plain functions and timers have nothing outside: they are `Setup` at once, and go with their Wait.

$event

## One run, seen at its checkpoints

```python
from dataclasses import dataclass

from flowstmt import On, S, State, Step, Wait, handle_callback, resume


class Page:
    def setup(self, request): ...

    def teardown(self, request, handled): ...


@dataclass
class Order:
    paid: int = 0

    def definition(self):
        return S(Wait("payment", On("paid", into="paid", via=Page())), Step("ship", lambda: None))


def save(kind):
    seen.append(f"{kind}: the run {state.status}")
    for thread in state.threads:
        seen.append(f"  {thread.id} {thread.status}, its events {[str(event.status) for event in thread.events]}")


seen = []
order, state = Order(), State.new("order-1", "Order")
resume(order, state, save)
handle_callback("paid", order, state, 42)
save("afterCallback")
resume(order, state, save)
assert seen == [
    "afterResume: the run Waiting",
    "  main WaitingEvent, its events ['PendingSetup']",
    "afterSetup: the run Waiting",
    "  main WaitingEvent, its events ['Setup']",
    "afterCallback: the run Resuming",
    "  main Resuming, its events ['PendingTeardown']",
    "afterResume: the run Resuming",
    "  main Executing, its events ['PendingTeardown']",
    "afterTeardown: the run Resuming",
    "  main Executing, its events []",
    "afterStep: the run Finished",
]
```
""")

Marks = Mapping[Any, str]
"""Where something begins or goes, and why: no status is assigned there, so no table says it."""

RUN_STARTS: Marks = {WorkflowStatus.Resuming: "State.new"}
THREAD_STARTS: Marks = {
    ThreadStatus.Resuming: "the run, a Go, a Parallel or a Map starts it",
    ThreadStatus.Executing: "it is started, and begins with a Step",
}
THREAD_ENDS: Marks = {ThreadStatus.Ended: "its events, if any, are torn down"}
EVENT_STARTS: Marks = {EventStatus.PendingSetup: "its via has a setup", EventStatus.Setup: "nothing to set up"}
_GONE = "its Wait has ended, nothing to tear down"
EVENT_ENDS: Marks = {
    EventStatus.PendingSetup: _GONE,
    EventStatus.SetupError: _GONE,
    EventStatus.Setup: _GONE,
    EventStatus.PendingTeardown: "its teardown worked",
    EventStatus.TeardownError: "its teardown worked",
}


def diagram(table: Mapping[Any, Mapping[Any, str]], starts: Marks, ends: Marks, direction: str = "TB") -> str:
    """One table as a Mermaid block, drawn from the top to the bottom or (``LR``) from left to right."""
    edges = [("[*]", status, why) for status, why in starts.items()]
    edges += [(before, after, why) for before, afters in table.items() for after, why in afters.items()]
    edges += [(status, "[*]", why) for status, why in ends.items()]
    lines = [f"    {before} --> {after}: {why}" for before, after, why in edges]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    direction {direction}", *lines, "```"])


def legality() -> str:
    """What may be done to a run, as a table: a row for each action and outcome."""
    lines = ["| action | the run is | after that it |", "|---|---|---|"]
    for action, legal in LEGALITY.items():
        after: dict[str, list[str]] = {}
        for status, outcome in legal.items():
            after.setdefault(outcome, []).append(f"`{status}`")
        lines += [f"| `{action}` | {', '.join(statuses)} | {outcome} |" for outcome, statuses in after.items()]
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    spare = [f"`{status}`" for status in WorkflowStatus if status not in RUN_TRANSITIONS]
    over = {status: "takes no more callbacks" for status, afters in RUN_TRANSITIONS.items() if not afters}
    return TEXT.substitute(
        spare=f"{', '.join(spare)} have their places in the format, but nothing makes them yet.\n" if spare else "",
        run=diagram(RUN_TRANSITIONS, RUN_STARTS, over),
        control=legality(),
        conditions="\n".join(f"- `{action}`: {condition}." for action, condition in CONDITIONS.items()),
        thread=diagram(THREAD_TRANSITIONS, THREAD_STARTS, THREAD_ENDS, "LR"),  # from the top, labels cover each other
        event=diagram(EVENT_TRANSITIONS, EVENT_STARTS, EVENT_ENDS),
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
