"""Tools to test workflows: a harness with a virtual clock, and an explorer that kills a run everywhere.

``Harness`` runs one workflow under a clock that only you move, and keeps what was saved, called and decided.
``explore`` runs a script of callbacks and time steps once undisturbed, then once for every instant at which a process can
die, and compares. ``flowstmt.testing.hunt`` looks for scripts that fail; it needs hypothesis, so it is imported by itself:
``from flowstmt.testing.hunt import hunt``. Nothing in the library imports this package.
"""

from flowstmt.core.children import CHILD_ENDED, ChildEnd
from flowstmt.testing.explorer import CrashError, explore
from flowstmt.testing.harness import START, Harness, Killed, Saved
from flowstmt.testing.plays import Advance, Callback, Exploration, NotDeterministicError

__all__ = [
    "CHILD_ENDED",
    "START",
    "Advance",
    "Callback",
    "ChildEnd",
    "CrashError",
    "Exploration",
    "Harness",
    "Killed",
    "NotDeterministicError",
    "Saved",
    "explore",
]
