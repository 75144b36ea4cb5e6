"""Loops that a thread reaches twice in one round and that make progress all the same: Python goes on with them, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from flowstmt import Break, For, ForEach, Go, If, Join, On, S, Sleep, State, Step, Wait, handle_callback, resume

BORN = datetime(2030, 1, 1, tzinfo=UTC)


def after(seconds: int) -> datetime:
    return BORN + timedelta(seconds=seconds)


@dataclass
class Poll:
    done: bool = False

    def definition(self):
        return For("poll", lambda: not self.done, Sleep("nap", timedelta(seconds=5)))


@dataclass
class PollAfterCallback(Poll):
    def definition(self):
        return S(Wait("start", On("go")), super().definition())


@pytest.mark.parametrize("late", [0, 6])
def test_a_run_that_polls_may_be_resumed_for_the_first_time_after_its_first_nap_is_over(late):
    assert resume(Poll(), State.new("run-1", "Poll", BORN), now=after(late)) == "Waiting"


@pytest.mark.parametrize("late", [0, 6])
def test_a_callback_that_starts_to_poll_may_be_followed_up_after_the_first_nap_is_over(late):
    run, state = PollAfterCallback(), State.new("run-1", "Poll", BORN)
    resume(run, state, now=BORN)
    handle_callback("go", run, state, now=BORN)
    assert resume(run, state, now=after(late)) == "Waiting"


@dataclass
class Box:
    n: int = 0


@dataclass
class Fresh:
    x: int = 0
    boxes: list[Box] = field(default_factory=lambda: [Box(0)])

    def definition(self):
        return For(
            "outer",
            lambda: self.x < 2,
            ForEach(
                "each",
                lambda: self.boxes,
                If("first", lambda: self.x == 0, Step("fill", self.fill)),
                For("inner", self.low, Step("count", self.count)),
            ),
        )

    def fill(self, box: Box) -> None:
        self.x, box.n = 1, 5

    def low(self, box: Box) -> bool:
        return box.n < 1

    def count(self, box: Box) -> None:
        self.x += 1
        box.n += 1


def test_an_inner_loop_may_be_reached_again_with_a_fresh_copy_of_the_item():
    run = Fresh()
    assert resume(run, State.new("run-1", "Fresh", BORN), now=BORN) == "Finished"
    assert run.x == 2


@dataclass
class Idle:
    first: bool = True
    x: int = 0

    def definition(self):
        return For("outer", lambda: self.x < 3, *self.inside(), Join("join", "work"), Go("work", Step("count", self.count)))

    def inside(self):
        return [If("first?", lambda: self.first, Step("begin", self.begin))]

    def begin(self) -> None:
        self.first = False

    def count(self) -> None:
        self.x += 1


@dataclass
class IdleLoop(Idle):
    def inside(self):
        return [*super().inside(), For("idle", lambda: False, Step("never", self.begin))]


@pytest.mark.parametrize("cls", [Idle, IdleLoop])
def test_a_loop_that_has_nothing_to_do_does_not_stop_the_one_around_it(cls):
    run = cls()
    assert resume(run, State.new("run-1", "Idle", BORN), now=BORN) == "Finished"
    assert run.x == 3


@dataclass
class IdleForever(Idle):
    def inside(self):
        out = If("out", lambda: True, Break())
        return [*super().inside(), For("idle", out, Step("never", self.begin))]


def test_a_loop_that_is_left_at_once_does_not_stop_the_one_around_it():
    run = IdleForever()
    assert resume(run, State.new("run-1", "Idle", BORN), now=BORN) == "Finished"
    assert run.x == 3
