"""What happens in a round: which runs there are, and what is done to processes and database when. All of it from one seed.

The same seed plays the same plan. It does not make the same interleaving: processes and databases have a time of their own.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.cases import KINDS, Case

__all__ = ["FAULTS", "Disturbance", "Plan"]

FAULTS = {
    "sqlite": {"kill": 12, "kill all": 1, "freeze": 2, "stop": 1, "lock": 3, "fill": 3},
    "postgres": {"kill": 12, "kill all": 1, "freeze": 2, "stop": 1, "cut": 4, "restart": 2},
}
"""What is done to workers and to the database, and how often as compared with the others."""

LENGTH = {"freeze": (2.0, 4.0), "lock": (0.3, 1.5), "fill": (0.3, 1.5)}
"""For how many seconds; a worker is frozen for longer than its lease lasts."""


@dataclass(frozen=True, slots=True)
class Disturbance:
    """What is done ``at`` so many seconds: to the worker of this number, or to the database, for so many seconds."""

    at: float
    fault: str
    worker: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A round, as it is meant."""

    seed: int
    kind: str
    runs: int
    seconds: float
    workers: int
    lease: float
    skews: tuple[float, ...]
    """How many seconds the clocks are wrong, of each worker."""
    disturbances: tuple[Disturbance, ...]
    cases: tuple[Case, ...]

    @staticmethod
    def of(
        seed: int,
        kind: str,
        *,
        runs: int,
        seconds: float,
        workers: int = 3,
        only: Sequence[str] = tuple(KINDS),
        faults: Mapping[str, int] | None = None,
    ) -> Plan:
        """The plan of a seed. ``only`` these cases, and these faults instead of all that there are."""
        draw = random.Random(f"{seed} {kind} {runs} {seconds} {workers}")
        names = draw.choices(only, [KINDS[name][1] for name in only], k=runs)
        # Few runs have each kind nevertheless.
        names[: len(only)] = list(only)[:runs]
        draw.shuffle(names)
        cases = tuple(KINDS[name][0](f"{name}-{n}", random.Random(draw.random())) for n, name in enumerate(names))
        skews = tuple(draw.choice((0.0, draw.uniform(-600, 600))) for _ in range(workers))
        disturbances, at = [], 0.0
        faults = FAULTS[kind] if faults is None else faults
        while True:
            at += draw.uniform(0.1, 0.5)
            if at > seconds:
                break
            fault = draw.choices(list(faults), list(faults.values()))[0]
            length = draw.uniform(*LENGTH[fault]) if fault in LENGTH else 0.0
            disturbances.append(Disturbance(round(at, 3), fault, draw.randrange(workers), round(length, 3)))
        return Plan(seed, kind, runs, seconds, workers, 1.5, skews, tuple(disturbances), cases)

    @property
    def again(self) -> str:
        """The command that plays this plan once more."""
        how = f"--seed {self.seed} --on {self.kind} --runs {self.runs} --length {self.seconds} --workers {self.workers}"
        return f"play it again: make chaos ARGS='{how} --rounds 1'"
