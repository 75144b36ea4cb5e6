"""What 10,000 parked threads add to a step in another thread, and to a ``resume`` that finds nothing to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Self

from benchmarks.measure import Figure, interleaved
from flowstmt import For, ForEach, Go, Join, On, S, Sleep, State, Statement, Step, Timeout, Wait, dump, resume

__all__ = ["figures"]

THREADS = 10_000
A_DAY = timedelta(days=1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = 2_000


@dataclass
class Parked:
    """As many threads of each kind: at a Wait, at one with a Timeout, at a Sleep, at a Join."""

    each: int
    done: int = 0

    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            Go("never ends", Wait("for ever", On("never"))),
            ForEach(
                "parked",
                lambda w: range(w.each),
                Go("waits", Wait("wait", On("event")), id=cls.item),
                Go("waits a day", Wait("wait a day", On("other event"), Timeout("day", A_DAY)), id=cls.item),
                Go("sleeps", Sleep("sleep", A_DAY), id=cls.item),
                Go("joins", Join("join", "never ends"), id=cls.item),
            ),
            For("ever", lambda w: True, Step("step", cls.step)),
        )

    def item(self, item: int) -> int:
        return item

    def step(self) -> None:
        self.done += 1


def _calls(threads: int) -> list[Callable[[], object]]:
    """A resume that does nothing, one of STEPS steps, and a dump."""
    workflow, state = Parked(threads // 4), State.new("run-1", "Parked")
    resume(workflow, state, max_steps=1, now=NOW)
    assert len(state.threads) == threads + 2
    resumes = [partial(resume, workflow, state, max_steps=steps, now=NOW) for steps in (0, STEPS)]
    return [*resumes, partial(dump, workflow, state)]


def figures() -> list[Figure]:
    nothing, steps, _, more_nothing, more_steps, more_dump = interleaved(*_calls(0), *_calls(THREADS), rounds=100)
    step, more_step, start = (steps - nothing) / STEPS, (more_steps - more_nothing) / STEPS, more_nothing / more_dump
    return [
        Figure(f"a dump with {THREADS:,} parked threads", f"{more_dump / 1e3:.1f} ms"),
        Figure("a step in another thread", f"{more_step:.1f} us, without them {step:.1f} us", "+0.1 x the dump"),
        Figure("a resume that does nothing", f"{more_nothing / 1e3:.1f} ms = {start:.2f} x the dump", "aim 0.1 x"),
    ]
