"""Runs of a definition that is only a tree: saved as far as they get, and opened again with another tree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flowstmt import State, Statement, dump, load, resume
from flowstmt.testing import START

__all__ = ["HOUR", "Tree", "nothing", "opened", "saved", "workflow"]

HOUR = timedelta(hours=1)

Tree = Callable[[Any], Statement]


def nothing() -> None: ...


def workflow(tree: Tree) -> type[Any]:
    @dataclass
    class Order:
        log: list[Any] = field(default_factory=list)
        kept: int = 0

        def definition(self) -> Statement:
            return tree(self)

        def say(self, what: str) -> Callable[[], None]:
            return lambda: self.log.append(what)

    return Order


def saved(tree: Tree, max_steps: int = 100) -> bytes:
    """A run of this tree, as far as it gets by itself."""
    work, state = workflow(tree)(), State.new("run-1", "Order", START)
    resume(work, state, now=START, max_steps=max_steps)
    return dump(work, state)


def opened(tree: Tree, blob: bytes) -> tuple[Any, State]:
    work, state = load(workflow(tree), blob)
    return work, state
