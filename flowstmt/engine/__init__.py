"""Runs that finish by themselves: an engine starts, stores, wakes, retries and hands over runs."""

from flowstmt.engine.engine import Engine
from flowstmt.engine.health import Health
from flowstmt.engine.letters import DeadLetter
from flowstmt.engine.queues import Queue
from flowstmt.engine.runs import Page, RunInfo
from flowstmt.engine.sync_engine import SyncEngine
from flowstmt.engine.watching import Change
from flowstmt.stores.protocol import HistoryRow

__all__ = ["Change", "DeadLetter", "Engine", "Health", "HistoryRow", "Page", "Queue", "RunInfo", "SyncEngine"]
