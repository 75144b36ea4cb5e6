"""What all that moves runs in one process share."""

from __future__ import annotations

from dataclasses import dataclass

from flowstmt.engine.catalogue import Catalogue
from flowstmt.engine.clock import StoreClock
from flowstmt.engine.invoking import Threads
from flowstmt.engine.lanes import ReadLane
from flowstmt.engine.settings import Settings
from flowstmt.engine.watching import Watchers
from flowstmt.engine.write_lane import WriteLane
from flowstmt.stores.protocol import Store

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an engine is made of."""

    store: Store
    settings: Settings
    catalogue: Catalogue
    clock: StoreClock
    writes: WriteLane
    reads: ReadLane
    threads: Threads
    watchers: Watchers

    @classmethod
    def of(cls, store: Store, settings: Settings, catalogue: Catalogue) -> Surroundings:
        """With everything new, and nothing started."""
        return cls(
            store,
            settings,
            catalogue,
            StoreClock(settings.clock),
            WriteLane(f"engine {settings.worker_id}, writing", store),
            ReadLane(f"engine {settings.worker_id}, reading"),
            Threads("flowstmt action", settings.concurrency * settings.step_concurrency),
            Watchers(),
        )
