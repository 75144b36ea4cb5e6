"""Tools to test workflows: a harness with a virtual clock, and an explorer that kills a run everywhere.

``Harness`` runs one workflow under a clock that only you move, and keeps what was saved, called and decided.
``explore`` runs a script of callbacks and time steps once undisturbed, then once for every instant at which a process can
die, and compares. Nothing in the library imports this package.
"""

from flowstmt.testing.explorer import Advance, Callback, CrashError, Exploration, explore
from flowstmt.testing.harness import START, Harness, Killed, Saved

__all__ = [
    "START",
    "Advance",
    "Callback",
    "CrashError",
    "Exploration",
    "Harness",
    "Killed",
    "Saved",
    "explore",
]
