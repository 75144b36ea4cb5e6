"""What an engine that is in use is made of, and how it begins and ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from flowstmt.engine.acting import Acting
from flowstmt.engine.catalogue import Catalogue
from flowstmt.engine.health import Health, health_of
from flowstmt.engine.looking import Looking
from flowstmt.engine.queues import Queue
from flowstmt.engine.requests import Requests
from flowstmt.engine.settings import Settings
from flowstmt.engine.starting import Starting
from flowstmt.engine.surroundings import Surroundings
from flowstmt.engine.worker import Worker
from flowstmt.stores.protocol import Store

__all__ = ["Parts"]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an engine that is in use, in one event loop."""

    process: int
    loop: asyncio.AbstractEventLoop
    shared: Surroundings
    worker: Worker
    requests: Requests
    looking: Looking
    starting: Starting
    acting: Acting

    @classmethod
    async def begin(cls, store: Store, catalogue: Catalogue, settings: Settings, queues: Mapping[str, Queue]) -> Self:
        """Open the store and begin."""
        shared = Surroundings.of(store, settings, catalogue)
        worker = Worker(shared)
        looking = Looking(shared)
        requests = Requests(shared, worker)
        worker.when_rung(requests.ring)
        await worker.start()
        acting = Acting(shared, worker, requests, looking)
        return cls(
            os.getpid(), asyncio.get_running_loop(), shared, worker, requests, looking, Starting(catalogue, queues), acting
        )

    async def end(self) -> None:
        """Finish or hand back what is in flight, and close the store."""
        try:
            await self.requests.stop()
        finally:
            await self.worker.stop()

    async def health(self) -> Health:
        """How the engine is."""
        return await health_of(self.shared, self.worker.held_runs)
