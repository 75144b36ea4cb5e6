"""A loop over many items: a step of it costs what a step of a loop over few does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, overload

import pytest

from flowstmt import ForEach, State, Statement, Step, dump, load, resume
from flowstmt.testing import START


class Asked(Sequence[int]):
    """As many items as it says, none of which it holds; it notes which it was asked for."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen: list[int] = []

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[int]: ...
    def __getitem__(self, at: Any) -> Any:
        assert isinstance(at, int)  # a part of the items would be a copy of them
        self.seen.append(at)
        return at


@dataclass
class InClassStyle:
    items: ClassVar[Asked]
    last: int = -1

    @classmethod
    def definition(cls) -> Statement[Self]:
        return ForEach("all", lambda w: cls.items, Step("step", cls.step))

    def step(self, item: int) -> None:
        self.last = item


@dataclass
class InInstanceStyle:
    items: ClassVar[Asked]
    last: int = -1

    def definition(self) -> Statement:
        return ForEach("all", self.items, Step("step", self.step))

    def step(self, item: int) -> None:
        self.last = item


@pytest.mark.parametrize("cls", [InClassStyle, InInstanceStyle])
def test_each_step_of_a_loop_asks_for_its_own_item_only(cls: type[InClassStyle | InInstanceStyle]) -> None:
    cls.items = Asked(10**15)
    work, state = cls(), State.new("r", "Work", START)
    sizes = []
    for _ in range(5):
        resume(work, state, now=START, max_steps=10)
        blob = dump(work, state)
        sizes.append(len(blob))
        work, state = load(cls, blob)
    assert work.last == 49
    assert cls.items.seen == list(range(51))  # that of the step which is next, too
    assert max(sizes) - min(sizes) <= 5  # the digits of its counters
