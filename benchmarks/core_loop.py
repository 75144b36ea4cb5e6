"""The ancestor's own benchmark: a loop of five steps, a step, a loop of two waits with a step each; two callbacks; no I/O.

Nineteen transitions: eight steps are reached and run, two waits are reached, and the run ends. The loop linked by hand
makes the same ones, with the same actions, conditions and handler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from benchmarks import by_hand
from benchmarks.by_hand import LOOP, STEP, WAIT, Node
from benchmarks.measure import Figure, interleaved
from flowstmt import For, On, S, State, Statement, Step, Wait, handle_callback, resume

__all__ = ["class_style", "figures", "hand_linked", "instance_style"]

DONE = "lllllhaha"


@dataclass
class Loop:
    """The data, and what is done to it."""

    i: int = 0
    log: str = ""

    def step(self) -> None:
        self.i += 1
        self.log += "l"

    def reset(self) -> None:
        self.i = 0

    def handle(self) -> None:
        self.i += 1
        self.log += "h"

    def after(self) -> None:
        self.log += "a"


class ClassStyle(Loop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(
            For("five", lambda w: w.i < 5, Step("step", cls.step)),
            Step("reset", cls.reset),
            For("two", lambda w: w.i < 2, Wait("wait", On("event", cls.handle, Step("after", cls.after)))),
        )


class InstanceStyle(Loop):
    def definition(self) -> Statement:
        return S(
            For("five", self.i < 5, Step("step", self.step)),
            Step("reset", self.reset),
            For("two", self.i < 2, Wait("wait", On("event", self.handle, Step("after", self.after)))),
        )


BY_HAND = by_hand.Program(
    Node(LOOP, "five", lambda w: w.i < 5, [Node(STEP, "step", Loop.step)]),
    Node(STEP, "reset", Loop.reset),
    Node(LOOP, "two", lambda w: w.i < 2, [Node(WAIT, "wait", Loop.handle, [Node(STEP, "after", Loop.after)], event="event")]),
)


def class_style() -> Loop:
    return _run(ClassStyle())


def instance_style() -> Loop:
    return _run(InstanceStyle())


def _run(workflow: ClassStyle | InstanceStyle) -> Loop:
    state = State.new("run-1", "Loop")
    resume(workflow, state)
    handle_callback("event", workflow, state)
    resume(workflow, state)
    handle_callback("event", workflow, state)
    resume(workflow, state)
    return workflow


def hand_linked() -> Loop:
    workflow, state = Loop(), by_hand.State("run-1")
    by_hand.resume(BY_HAND, workflow, state)
    by_hand.handle_callback(BY_HAND, "event", workflow, state)
    by_hand.resume(BY_HAND, workflow, state)
    by_hand.handle_callback(BY_HAND, "event", workflow, state)
    by_hand.resume(BY_HAND, workflow, state)
    return workflow


def figures() -> list[Figure]:
    for operation in (hand_linked, class_style, instance_style):
        assert operation().log == DONE
    hand, of_class, of_instance = interleaved(hand_linked, class_style, instance_style, rounds=250)
    figures = [Figure("19 transitions, linked by hand", f"{hand:.1f} us")]
    for style, taken, limit in (("class", of_class, "5 x, aim 3.5 x"), ("instance", of_instance, "16 x, aim 14 x")):
        figures.append(Figure(f"the same, {style} style", f"{taken:.1f} us = {taken / hand:.2f} x by hand", limit))
    return figures
