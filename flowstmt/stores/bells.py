"""How a thread that waits hears at once of what another one did."""

from __future__ import annotations

from threading import Condition, local

__all__ = ["Bell"]


class Bell:
    """Rung by whoever did something; ``wait`` returns at once if it was rung since the same thread last returned from it.

    A plain event would not do: of two threads that wait, the first one to wake up would clear it for the other.
    """

    def __init__(self) -> None:
        self._condition = Condition()
        self._rung = 0
        self._heard = local()

    def ring(self) -> None:
        """Let those that wait return, and whoever waits next."""
        with self._condition:
            self._rung += 1
            self._condition.notify_all()

    def wait(self, seconds: float) -> bool:
        """Whether it was rung; False once time is over."""
        with self._condition:
            heard = getattr(self._heard, "rung", 0)
            rung = self._condition.wait_for(lambda: self._rung != heard, seconds)
            self._heard.rung = self._rung
            return rung
