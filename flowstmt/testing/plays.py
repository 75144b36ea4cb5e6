"""A script played once, with at most one crash; and what differs between the plays of a script.

Theory: what a crash leaves is the last snapshot, so two deaths differ only if a save, or an effect outside, lies between
them. Those instants can be counted: before and after every save; before the call and after the effect (but before its
return is applied) of every action, handler, setup and teardown; and each ``await`` at which one of these suspends.

They are counted in the undisturbed play. A play that is to die at the seventh of them must come to the same six before:
otherwise it is not the same run, and what it tells is worth nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any, Generic, TypeAlias, TypeVar

import orjson

from flowstmt.core.state import CallbackRequest, State
from flowstmt.core.statements import Event
from flowstmt.errors import CallbackError, a_kind_of, said
from flowstmt.snapshot import dump
from flowstmt.testing.harness import Harness, Killed

__all__ = [
    "Advance",
    "Callback",
    "Exploration",
    "Failure",
    "NotDeterministicError",
    "Scenario",
    "Script",
    "ScriptError",
    "examine",
    "resolve",
]

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class Callback:
    """A step of a script: a callback that must be accepted; or refused, with an error of the class ``refused``.

    Attributes:
        request: The name of the event, its ``Event`` token, or a ``CallbackRequest``.
        payload: As for ``handle_callback``: bytes are JSON, anything else is a value.
        refused: The class of the error that is expected; None if the callback must be accepted.
    """

    request: CallbackRequest | Event[Any, Any] | str
    payload: Any = None
    refused: type[CallbackError] | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """A step of a script: time that passes. The clock stops at each ``wake_at`` on the way, and the run is resumed there.

    Attributes:
        by: How long.
    """

    by: timedelta


Script: TypeAlias = Sequence[Callback | Advance]


class NotDeterministicError(AssertionError):
    """Two plays of one script differ although nothing was killed between them: nothing can be told from that.

    Something leaks from run to run (a global, a class variable, a file), or depends on chance or on a real clock. ``make``
    and ``deps`` must make everything anew, and alike.
    """


class ScriptError(AssertionError):
    """What the script says of a callback is not so."""


class _ChangedError(AssertionError):
    """A refused callback has changed something."""


@dataclass(frozen=True, slots=True)
class Exploration(Generic[W]):
    """What ``explore`` returns: nothing made a difference, and this is what was tried.

    Assert something of it, so that a script which no longer gets anywhere is noticed.

    Attributes:
        points: The instants at which the run was killed, one play each: labels such as "after save afterStep", the later
            ones of a label with a number ("after save afterStep #2"). Any of them can be given as ``kill_at``.
        undisturbed: The run without a crash, as it ended: its ``workflow``, ``result``, ``trace``, ``calls``.

    >>> from dataclasses import dataclass
    >>> from flowstmt import Step
    >>> from flowstmt.testing import explore
    >>> @dataclass
    ... class Hello:
    ...     said: bool = False
    ...
    ...     def definition(self):
    ...         return Step("say", lambda: True, into="said")
    >>> found = explore(Hello)
    >>> found.undisturbed.workflow
    Hello(said=True)
    >>> for point in found.points:
    ...     print(point)
    before save afterResume
    after save afterResume
    before action at 'say' (thread main)
    after the effect of action at 'say' (thread main)
    before save afterStep
    after save afterStep
    """

    points: list[str]
    undisturbed: Harness[W]


@dataclass(frozen=True, slots=True)
class Failure:
    """A script that went wrong: killed at ``point``, or (None) without a crash."""

    script: list[Callback | Advance]
    point: str | None
    what: str
    error: Exception | None
    trace: list[str]

    @property
    def kind(self) -> tuple[Any, ...]:
        """Failures of one kind are taken for one bug, so that a shorter script is not one for another bug."""
        return self.point is None, type(self.error), type(self.error.__cause__ if self.error is not None else None)


@dataclass(slots=True)
class Scenario(Generic[W]):
    """What all plays have in common; ``plays`` counts them."""

    make: Callable[[], W]
    invariant: Callable[[W, State], Any] | None
    now: datetime
    deps: Callable[[], Any] | None
    concurrency: int = 1
    plays: int = 0

    def __post_init__(self) -> None:
        if not callable(self.make):
            raise TypeError(
                f"make must be a class or a function that gives a new workflow object for each run, not {a_kind_of(self.make)}"
            )
        if self.deps is not None and not callable(self.deps):
            raise TypeError(
                "deps must be a function that makes them, anew for each run, not "
                f"{a_kind_of(self.deps)} (Harness takes the object itself)"
            )


@dataclass(slots=True)
class Play(Generic[W]):
    """The script, played once, with at most one crash: when ``points`` are as many as ``expected``, the last being the same.

    With ``resolving``, callbacks may be accepted or refused as they like, and ``played`` says what they were.
    """

    scenario: Scenario[W]
    script: Script
    expected: Sequence[str] | None = None
    resolving: bool = False
    length: int | None = None
    points: list[str] = field(default_factory=list)
    played: list[Callback | Advance] = field(default_factory=list)
    first: W = field(init=False)
    harness: Harness[W] = field(init=False)
    _seen: Counter[str] = field(default_factory=Counter)
    _astray: str = ""

    def __post_init__(self) -> None:
        scenario = self.scenario
        scenario.plays += 1
        deps = scenario.deps() if scenario.deps is not None else None
        self.first = scenario.make()
        self.harness = Harness(
            self.first,
            now=scenario.now,
            deps=deps,
            concurrency=scenario.concurrency,
            invariant=scenario.invariant,
            probe=self._point,
            run_id="explored",
        )

    def finish(self) -> None:
        self._surviving(self.harness.run)
        for i, step in enumerate(self.script):
            if self.length is not None and sum(not _refused(played) for played in self.played) >= self.length:
                return
            self.played.append(step)
            try:
                self._play(step)
            except Exception as error:
                error.add_note(f"explore: script[{i}], {step}")
                raise
        if self.expected is not None and len(self.points) < len(self.expected):
            raise _astray(f"it ended before it came to {self.expected[-1]!r}")

    def _play(self, step: Callback | Advance) -> None:
        if isinstance(step, Advance):
            target = self.harness.now + step.by
            self._surviving(lambda: self.harness.advance_to(target))
            return
        if self.resolving:
            self._resolve(step)
        elif step.refused is not None:
            self._refuse(step, step.refused)
        else:
            self._deliver(step)
        self._surviving(self.harness.run)

    def _deliver(self, step: Callback) -> None:
        saved = len(self.harness.saves)
        try:
            self.harness.deliver(step.request, step.payload)
        except Killed:
            self._die()
            if len(self.harness.saves) == saved:
                self.harness.deliver(step.request, step.payload)

    def _refuse(self, step: Callback, expected: type[CallbackError]) -> None:
        def deliver() -> None:
            error = self._refusal(step, expected)
            if error is None:
                raise ScriptError(f"{step} was accepted: take refused= out of the script, or mend the workflow")

        self._surviving(deliver)

    def _resolve(self, step: Callback) -> None:
        self.played[-1] = step = replace(step, refused=None)
        error = self._refusal(step, CallbackError)
        if error is not None:
            self.played[-1] = replace(step, refused=type(error))

    def _refusal(self, step: Callback, expected: type[CallbackError]) -> CallbackError | None:
        before = dump(self.harness.workflow, self.harness.state)
        try:
            self.harness.deliver(step.request, step.payload)
        except expected as error:
            if dump(self.harness.workflow, self.harness.state) != before:
                self.played[-1] = step = replace(step, refused=type(error))
                raise _ChangedError(f"{step} was refused, but changed the run") from None
            return error
        return None

    def _surviving(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Killed:
            self._die()
            # What the process was at has to be finished at the instant at which it died, before time goes on.
            self.harness.run()
            act()

    def _point(self, label: str) -> None:
        self._seen[label] += 1
        # The same label comes again and again: a number tells them apart.
        point = label if self._seen[label] == 1 else f"{label} #{self._seen[label]}"
        self.points.append(point)
        index = len(self.points) - 1
        if self.expected is None or index >= len(self.expected):
            return
        if point != self.expected[index]:
            # Killed, as every other exception would be taken for one of the workflow's.
            self._astray = f"where it came to {self.expected[index]!r} first, it comes to {point!r} now"
            raise Killed(point)
        if index == len(self.expected) - 1:
            self.harness.trace.append(f"KILLED {point}")
            raise Killed(point)

    def _die(self) -> None:
        if self._astray:
            raise _astray(self._astray)
        self.harness.reload()
        self.harness.trace.append(f"loaded revision {self.harness.state.revision}")

    def outcome(self) -> dict[str, Any]:
        """All that must be the same, whether there was a crash or not."""
        harness = self.harness
        # What ``dump`` would write: the data as JSON, so that it can be compared and shown.
        document = orjson.loads(harness.snapshot)
        threads = document["state"].get("threads", [])
        return {
            "data": document["data"],
            "result": harness.result,
            "status": str(harness.status),
            "threads": [[thread.get(key) for key in ("id", "status", "position", "pc", "birth")] for thread in threads],
            "decisions": dict(sorted(harness.decisions.items())),
            "calls": sorted({call for call in harness.calls if call[0] in ("action", "handler")}),
            "set up": sorted({call for call in harness.calls if call[0] == "setup"}),
            "torn down": sorted({call for call in harness.calls if call[0] == "teardown"}),
        }


def resolve(scenario: Scenario[Any], script: Script, length: int | None = None) -> list[Callback | Advance] | Failure:
    """The script with ``refused`` for each callback as it turned out; or how it went wrong.

    It ends after ``length`` steps, without counting the refused ones.
    """
    play = Play(scenario, script, resolving=True, length=length)
    try:
        return _undisturbed(play) or play.played
    finally:
        play.harness.close()


def examine(
    scenario: Scenario[W],
    script: Script,
    *,
    kill_at: str | None = None,
    like: Failure | None = None,
    in_order: bool = False,
    only_near: bool = False,
) -> Exploration[W] | Failure:
    """Play the script undisturbed, then once for each of its points, or once only: for ``kill_at``, if there is that point.

    With ``like``, only failures of its kind count. They are looked for at points that are like its point first (or at no
    other), unless ``in_order``.
    """
    undisturbed = Play(scenario, script)
    if (failure := _undisturbed(undisturbed)) is not None:
        return failure
    expected, points = undisturbed.outcome(), undisturbed.points
    # A point that is gone since the test was written: whatever became of it is among all of them.
    order = [points.index(kill_at)] if kill_at in points else list(range(len(points)))
    if like is not None and not in_order:
        near = [i for i in order if _place(points[i]) == _place(like.point)]
        order = near if only_near else near + [i for i in order if i not in near]
    for index in order:
        play = Play(scenario, script, points[: index + 1])
        try:
            failure = _killed(play, expected, undisturbed.first)
        finally:
            play.harness.close()
        if failure is not None and (like is None or failure.kind == like.kind):
            _same(scenario, script, points, expected)
            return failure
    return Exploration(points, undisturbed.harness)


def _undisturbed(play: Play[Any]) -> Failure | None:
    try:
        play.finish()
    except Exception as error:  # noqa: BLE001 whatever it is: it is what is looked for
        return Failure(list(play.played), None, said(error), error, play.harness.trace)
    return None


def _killed(play: Play[W], expected: dict[str, Any], first: W) -> Failure | None:
    if play.first is first:
        raise TypeError("make() gave the same object twice: it must make a new one for each run")
    failed: Exception | None = None
    try:
        play.finish()
    except NotDeterministicError:
        raise
    except Exception as error:  # noqa: BLE001 whatever it is: undisturbed it was not raised
        failed = error
        what = f"finishing raised {type(error).__name__}: {error}"
    else:
        found = play.outcome()
        what = "; ".join(
            f"{key}: undisturbed {expected[key]!r}, after the crash {found[key]!r}"
            for key in expected
            if expected[key] != found[key]
        )
    if not what:
        return None
    assert play.expected is not None
    return Failure(list(play.script), play.expected[-1], what, failed, play.harness.trace)


def _same(scenario: Scenario[Any], script: Script, points: list[str], expected: dict[str, Any]) -> None:
    """Make sure that it was the crash that made the difference."""
    again = Play(scenario, script)
    failure = _undisturbed(again)
    if failure is not None:
        raise _astray(f"it went through first, and raises now: {failure.what}") from failure.error
    for key, value in again.outcome().items():
        if value != expected[key]:
            raise _astray(f"{key}: first {expected[key]!r}, now {value!r}")
    for before, after in zip_longest(points, again.points, fillvalue="its end"):
        if before != after:
            raise _astray(f"where it came to {before!r} first, it comes to {after!r} now")


def _refused(step: Callback | Advance) -> bool:
    return isinstance(step, Callback) and step.refused is not None


def _place(point: str | None) -> str:
    """What points in other scripts have in common with this one."""
    return re.sub(r" \(thread .*\)( #\d+)?$| #\d+$|^at await \d+ of (task \d+ of )?", "", point or "")


def _astray(what: str) -> NotDeterministicError:
    return NotDeterministicError(
        "make(), deps() or an action is not deterministic: the same script was played twice, and before anything was killed "
        f"{what}. make() and deps() must make everything anew and alike, and nothing may leak from run to run: no global "
        "state, no clock, no randomness, no awaits whose number depends on real time"
    )
