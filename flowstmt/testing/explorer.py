"""Kill a run at every instant at which a process can die, and see whether that makes a difference.

Theory: what a crash leaves is the last snapshot, so two deaths differ only if a save, or an effect outside, lies between
them. Those instants can be counted: before and after every save; before the call and after the effect (but before its
return is applied) of every action, handler, setup and teardown. The explorer runs the script once undisturbed and counts
them, then once for each of them: it kills the run there, drops the objects, loads the last snapshot, and finishes.

Both runs must agree in data, result, status, in the decisions taken (where each thread stood at each of its stops), in the
set of calls made (an action in flight may run twice, with the same idempotency key), and in what was torn down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import orjson

from flowstmt.core.state import CallbackRequest, State
from flowstmt.core.statements import Event
from flowstmt.errors import CallbackError
from flowstmt.snapshot import dump
from flowstmt.testing.harness import START, Harness, Killed

__all__ = ["Advance", "Callback", "CrashError", "Exploration", "explore"]

W = TypeVar("W")


@dataclass(frozen=True, slots=True)
class Callback:
    """A step of a script: a callback that must be accepted; or refused, with an error of the class ``refused``."""

    request: CallbackRequest | Event[Any, Any] | str
    payload: Any = None
    refused: type[CallbackError] | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """A step of a script: time that passes."""

    by: timedelta


class CrashError(AssertionError):
    """A crash made a difference; the message says which, where the run was killed, and shows the trace."""


@dataclass(frozen=True, slots=True)
class Exploration(Generic[W]):
    """What was found: ``points`` are the instants at which the run was killed, ``undisturbed`` the run without a crash."""

    points: list[str]
    undisturbed: Harness[W]


def explore(
    make: Callable[[], W],
    script: Sequence[Callback | Advance] = (),
    *,
    invariant: Callable[[W, State], Any] | None = None,
    now: datetime = START,
    deps: Callable[[], Any] | None = None,
) -> Exploration[W]:
    """Run ``script`` undisturbed, then once for every instant at which the process can die, and compare.

    ``make()`` gives a new workflow object for each run; ``deps()`` what its actions get as ``current().deps``.
    ``invariant(workflow, state)`` is called at every checkpoint of every run; let it raise or return False.
    Callbacks that a crash lost before they were saved are handed in again, as a caller without an answer does.
    Raises ``CrashError`` at the first difference.

    >>> from dataclasses import dataclass
    >>> from flowstmt import On, Step, S, Wait
    >>> @dataclass
    ... class Order:
    ...     paid: int = 0
    ...     shipped: bool = False
    ...
    ...     def definition(self):
    ...         return S(Wait("payment", On("paid", into="paid")), Step("ship", lambda: True, into="shipped"))
    >>> len(explore(Order, [Callback("paid", 5)]).points)
    10
    """
    if deps is not None and not callable(deps):
        raise TypeError("deps must be a function that makes them, anew for each run (Harness takes the object itself)")
    undisturbed = _Play(make, script, invariant, now, deps, kill_at=None)
    undisturbed.finish()
    expected = undisturbed.outcome()
    for index, point in enumerate(undisturbed.points):
        play = _Play(make, script, invariant, now, deps, kill_at=index)
        if play.first is undisturbed.first:
            raise TypeError("make() gave the same object twice: it must make a new one for each run")
        try:
            play.finish()
        except Exception as error:
            raise CrashError(play.report(point, f"finishing raised {type(error).__name__}: {error}")) from error
        found = play.outcome()
        differences = [
            f"{what}: undisturbed {expected[what]!r}, after the crash {found[what]!r}"
            for what in expected
            if expected[what] != found[what]
        ]
        if differences:
            raise CrashError(play.report(point, "; ".join(differences)))
    return Exploration(undisturbed.points, undisturbed.harness)


@dataclass(slots=True)
class _Play(Generic[W]):
    """The script, played once, with at most one crash."""

    make: Callable[[], W]
    script: Sequence[Callback | Advance]
    invariant: Callable[[W, State], Any] | None
    now: datetime
    deps: Callable[[], Any] | None
    kill_at: int | None
    points: list[str] = field(default_factory=list)
    first: W = field(init=False)
    harness: Harness[W] = field(init=False)

    def __post_init__(self) -> None:
        deps = self.deps() if self.deps is not None else None
        self.first = self.make()
        self.harness = Harness(
            self.first, now=self.now, deps=deps, invariant=self.invariant, probe=self._point, run_id="explored"
        )

    def finish(self) -> None:
        self._surviving(self.harness.run)
        for i, step in enumerate(self.script):
            try:
                self._play(step)
            except Exception as error:
                error.add_note(f"explore: script[{i}], {step}")
                raise

    def _play(self, step: Callback | Advance) -> None:
        if isinstance(step, Advance):
            target = self.harness.now + step.by
            self._surviving(lambda: self.harness.advance_to(target))
        else:
            self._deliver(step)
            self._surviving(self.harness.run)

    def _deliver(self, step: Callback) -> None:
        if step.refused is not None:
            self._surviving(lambda: self._refused(step, step.refused or CallbackError))
            return
        saved = len(self.harness.saves)
        try:
            self.harness.deliver(step.request, step.payload)
        except Killed:
            self._die()
            if len(self.harness.saves) == saved:
                self.harness.deliver(step.request, step.payload)

    def _refused(self, step: Callback, expected: type[CallbackError]) -> None:
        before = dump(self.harness.workflow, self.harness.state)
        try:
            self.harness.deliver(step.request, step.payload)
        except expected:
            if dump(self.harness.workflow, self.harness.state) != before:
                raise AssertionError(f"{step} was refused, but changed the run") from None
            return
        raise AssertionError(f"{step} was accepted")

    def _surviving(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Killed:
            self._die()
            # What the process was at has to be finished at the instant at which it died, before time goes on.
            self.harness.run()
            act()

    def _point(self, label: str) -> None:
        index = len(self.points)
        self.points.append(label)
        if index == self.kill_at:
            self.harness.trace.append(f"KILLED {label}")
            raise Killed(label)

    def _die(self) -> None:
        self.harness.reload()
        self.harness.trace.append(f"loaded revision {self.harness.state.revision}")

    def outcome(self) -> dict[str, Any]:
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

    def report(self, point: str, what: str) -> str:
        lines = "\n".join(f"  {line}" for line in self.harness.trace)
        return f"killed {point}: {what}\nThe trace of the killed run:\n{lines}"
