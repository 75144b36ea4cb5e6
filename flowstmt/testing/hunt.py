"""Look for a script that fails: scripts are drawn at random, and each is explored.

The only module that needs hypothesis: ``pip install 'flowstmt[testing]'``.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, Generic, TypeVar

from flowstmt.core.state import State
from flowstmt.errors import a_kind_of
from flowstmt.testing.explorer import CrashError, report
from flowstmt.testing.harness import START
from flowstmt.testing.plays import Advance, Callback, Failure, Scenario, Script, examine, resolve
from flowstmt.testing.shrinking import fails_alike, shrink

try:
    from hypothesis import Phase, find, settings
    from hypothesis import strategies as st
    from hypothesis.configuration import set_hypothesis_home_dir, storage_directory
    from hypothesis.errors import Flaky, NoSuchExample
except ImportError as error:
    raise ImportError(
        "flowstmt.testing.hunt needs hypothesis, which is not installed: pip install 'flowstmt[testing]'"
    ) from error

__all__ = ["Hunted", "hunt"]

W = TypeVar("W")

_PLAYS = 1_000
"""After so many plays hypothesis is told that nothing smaller fails."""


@dataclass(slots=True)
class Hunted:
    """What was tried without finding anything: so that nobody takes a hunt for a success that had nothing to shoot at.

    Attributes:
        scripts: How many scripts were played.
        points: At how many instants their runs were killed, all in all.
        accepted: How often a callback was accepted, by the name of its event.
        refused: How often one was refused.
    """

    scripts: int = 0
    points: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)


def hunt(
    make: Callable[[], W],
    callbacks: st.SearchStrategy[Callback],
    times: st.SearchStrategy[timedelta] | st.SearchStrategy[Advance] | None = None,
    *,
    length: int = 6,
    examples: int = 100,
    seed: int = 0,
    invariant: Callable[[W, State], Any] | None = None,
    now: datetime = START,
    deps: Callable[[], Any] | None = None,
    concurrency: int = 1,
) -> Hunted:
    """Draw ``examples`` scripts of callbacks and times, and ``explore`` each of them.

    A drawn callback may be accepted or refused; a refusal must change nothing. A script ends after ``length`` steps, without
    counting the refused ones. After every crash the same must be accepted and refused as without one. The same ``seed`` draws
    the same scripts, and nothing is written to disk.

    Returns how often which event was accepted and refused, and how many scripts and points there were. Raises
    ``CrashError`` for whatever goes wrong, also without a crash, with the shortest script that shows it.

    >>> from dataclasses import dataclass
    >>> from hypothesis import strategies as st
    >>> from flowstmt import On, Wait
    >>> @dataclass
    ... class Order:
    ...     paid: int = 0
    ...
    ...     def definition(self):
    ...         return Wait("payment", On("paid", into="paid"))
    >>> found = hunt(Order, st.builds(Callback, st.just("paid"), st.integers()), length=2, examples=10)
    >>> found.scripts, sorted(found.accepted), sorted(found.refused)
    (10, ['paid'], ['paid'])
    """
    _refuse_no_strategy("callbacks", callbacks)
    if times is not None:
        _refuse_no_strategy("times", times)
    search = _Search(Scenario(make, invariant, now, deps, concurrency), length)
    steps = callbacks if times is None else st.one_of(callbacks, times)
    with _nothing_on_disk():
        try:
            find(
                # Lists of lists: hypothesis draws lists of five or so, and what is refused does not count for the length.
                st.lists(st.lists(steps, max_size=10), max_size=10),
                search.fails,
                settings=settings(
                    max_examples=examples, database=None, deadline=None, phases=[Phase.generate, Phase.shrink], print_blob=False
                ),
                random=Random(seed),  # noqa: S311 no secret
            )
        except (NoSuchExample, Flaky):
            # Flaky is what hypothesis says when it is told to stop shrinking: by then the failure is known.
            pass
    if search.broken is not None:
        raise search.broken
    if search.found is None:
        return search.hunted
    failure = shrink(search.scenario, search.found)
    raise CrashError(report(search.scenario, failure)) from failure.error


def _refuse_no_strategy(name: str, strategy: Any) -> None:
    if not isinstance(strategy, st.SearchStrategy):
        raise TypeError(
            f"hunt: {name} must be a strategy of hypothesis (st.builds(Callback, ...), say), not {a_kind_of(strategy)}"
        )


class _Search(Generic[W]):
    """The scripts that were drawn, and the shortest of those that fail."""

    def __init__(self, scenario: Scenario[W], length: int) -> None:
        self.scenario = scenario
        self._length = length
        self.hunted = Hunted()
        self.found: Failure | None = None
        # What is no failure of a script: make(), deps() or a strategy is wrong.
        self.broken: Exception | None = None
        self._last_play = 0

    def fails(self, drawn: list[list[Any]]) -> bool:
        """Whether a drawn script fails: for hypothesis, which draws smaller ones from then on."""
        if self.broken is not None:
            return True
        try:
            script = [_step(one) for part in drawn for one in part]
            if self.found is None:
                failure = self._explored(script)
                self._last_play = self.scenario.plays + _PLAYS
            elif self.scenario.plays < self._last_play:
                failure = fails_alike(self.scenario, script, self.found, only_near=True)
            else:
                failure = None
        except Exception as error:  # noqa: BLE001 raised once hypothesis is done: it would try to make it smaller
            self.broken = error
            return True
        if failure is None:
            return False
        # The last one is the smallest: hypothesis ends with it.
        self.found = failure
        return True

    def _explored(self, script: Script) -> Failure | None:
        resolved = resolve(self.scenario, script, self._length)
        if isinstance(resolved, Failure):
            return resolved
        found = examine(self.scenario, resolved)
        if isinstance(found, Failure):
            return found
        self.hunted.scripts += 1
        self.hunted.points += len(found.points)
        for step in resolved:
            if isinstance(step, Callback):
                name = step.request if isinstance(step.request, str) else step.request.name
                (self.hunted.accepted if step.refused is None else self.hunted.refused)[name] += 1
        return None


def _step(drawn: Any) -> Callback | Advance:
    if isinstance(drawn, timedelta):
        return Advance(drawn)
    if not isinstance(drawn, Callback | Advance):
        raise TypeError(f"hunt: callbacks must give Callback, and times timedelta or Advance, but {a_kind_of(drawn)} was drawn")
    if isinstance(drawn, Callback) and drawn.refused is not None:
        raise TypeError(f"hunt finds out by itself what is refused: leave out refused= in {drawn}")
    return drawn


@contextmanager
def _nothing_on_disk() -> Iterator[None]:
    """Hypothesis keeps what it knows of Unicode and of the code under test in a directory: not a new one of the user's."""
    found: Any = storage_directory()
    home = getattr(found, "path", found)  # the path itself, in older releases
    if home.exists():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="flowstmt-hunt-") as scratch:
        set_hypothesis_home_dir(scratch)
        try:
            yield
        finally:
            set_hypothesis_home_dir(home)
