"""How an engine is: for readiness checks, and for whoever is called at night."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowstmt.engine.surroundings import Surroundings
from flowstmt.errors import StoreError, said
from flowstmt.stores.protocol import RunQuery

__all__ = ["Health", "health_of"]

_ANSWERS_WITHIN = 2.0
_LOOKED_AT = 1000


@dataclass(frozen=True, slots=True)
class Health:
    """How an engine is.

    Attributes:
        worker_id: How the worker is called in the database.
        is_well: Whether the database answers, and nothing waits for it to come back.
        error: What the database can't do; None if all is well.
        error_since: From when on.
        waiting_writes: So many writes wait for their commit. A few are usual; thousands say that the database is too slow.
        held: So many runs this process holds the lease of.
        now: The database's clock, as it is known here.
        unknown: Runs that are due and that this process can't move, by workflow and version: if no other process knows
            these, nobody moves them. Looked for among the newest due ones.
    """

    worker_id: str
    is_well: bool
    error: str | None
    error_since: datetime | None
    waiting_writes: int
    held: int
    now: datetime
    unknown: Mapping[tuple[str, int], int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "worker_id": self.worker_id,
            "is_well": self.is_well,
            "error": self.error,
            "error_since": None if self.error_since is None else self.error_since.isoformat(),
            "waiting_writes": self.waiting_writes,
            "held": self.held,
            "now": self.now.isoformat(),
            "unknown": [
                {"workflow": workflow, "version": version, "runs": runs} for (workflow, version), runs in self.unknown.items()
            ],
        }


async def health_of(engine: Surroundings, held: int) -> Health:
    """How an engine is; answered soon, whatever the database does."""
    now = engine.clock()
    ill = [lane.health for lane in (engine.writes, engine.reads) if lane.health.error is not None]
    unknown: dict[tuple[str, int], int] = {}
    error: str | None = None
    if not ill:  # else it is known that the database does not answer
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN):
                due = await engine.reads.call(engine.store.list, RunQuery(wake_before=now, limit=_LOOKED_AT))
                await engine.writes.call(_nothing)
            known = engine.catalogue.known()
            unknown = dict(Counter((run.workflow, run.version) for run in due if known.get(run.workflow, 0) < run.version))
        except TimeoutError:
            error = f"the database has not answered for {_ANSWERS_WITHIN:g} s"
        except StoreError as raised:
            error = said(raised)
    return Health(
        engine.settings.worker_id,
        error is None and not ill,
        ill[0].error if ill else error,
        ill[0].since if ill else None,
        engine.writes.backlog(),
        held,
        now,
        unknown,
    )


def _nothing() -> None:
    """What is called in the writing thread, to see that it gets round to it."""
