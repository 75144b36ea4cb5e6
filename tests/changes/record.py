"""How the snapshots in this folder came to be: each is a checkpoint of a run of ``old.py``, stored beside it.

``python -m tests.changes.record`` writes those that are missing. It overwrites none: they stand for what is stored out there,
written by a flowstmt of long ago. A snapshot that today's code would write otherwise is told by ``test_changes.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from flowstmt import CallbackRequest, NotWaitingError, State, WorkflowFinishedError, dump, handle_callback, resume
from flowstmt.testing import START

__all__ = ["CHANGES", "FOLDER", "Call", "Noting", "go_on", "module", "old_snapshots", "stored"]

FOLDER = Path(__file__).parent
CHANGES = sorted(path.parent.name for path in FOLDER.glob("*/old.py"))

Call = tuple[CallbackRequest, Any]
"""A callback that the world outside makes, with the names that the old code gave it."""


@dataclass
class Noting:
    """What the workflows of this folder have in common: they note what they do."""

    log: list[str] = field(default_factory=list)

    def note(self, word: str) -> Callable[[], None]:
        """An action or handler that notes a word."""
        return lambda: self.log.append(word)


def module(change: str, name: str) -> ModuleType:
    """The old or the new code of a change."""
    return import_module(f"tests.changes.{change}.{name}")


def go_on(work: Any, state: State, calls: Sequence[Call], save: Callable[[str], Any]) -> None:
    """Run as far as it goes; callbacks that came before, or that nobody waits for, are refused and change nothing."""
    resume(work, state, save, now=START)
    for request, payload in calls:
        try:
            handle_callback(request, work, state, payload, now=START)
        except (NotWaitingError, WorkflowFinishedError):
            continue
        save("afterCallback")
        resume(work, state, save, now=START)


def old_snapshots(change: str) -> dict[str, bytes]:
    """All checkpoints of a run of the old code, by revision and by where ``main`` stands."""
    old = module(change, "old")
    work, state = old.Order(), State.new("order-1", "Order", START)
    found: dict[str, bytes] = {}

    def save(kind: str) -> None:
        main = state.threads[0] if state.threads else None
        where = "end" if main is None else "-".join(filter(None, (main.position, main.event)))
        found[f"{state.revision}-{where.replace('/', '.').replace(' ', '-')}"] = dump(work, state)

    go_on(work, state, old.CALLS, save)
    return found


def stored(change: str) -> dict[str, bytes]:
    """The snapshots that are kept of a change."""
    return {path.stem: path.read_bytes() for path in sorted((FOLDER / change).glob("*.json"))}


def main() -> None:
    for change in CHANGES:
        kept = stored(change)
        for name, blob in old_snapshots(change).items():
            if name not in kept:
                (FOLDER / change / f"{name}.json").write_bytes(blob)


if __name__ == "__main__":
    main()
