"""Rounds of chaos, one after the other: ``make chaos ARGS='--seconds 600 --seed 17 --on postgres'``.

Without ``--seed`` the first one is drawn; each further round has the next seed. ``--rounds 1`` with the seed of a round that
failed, and its other arguments, plays the same plan again. The folder of a round with faults is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.chaos.databases import Postgres, SQLite, postgres_server
from tests.chaos.plan import Plan
from tests.chaos.play import play


def main(arguments: list[str]) -> int:
    """Play until the time is over; 1 if a round had faults."""
    parser = argparse.ArgumentParser(prog="make chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--seconds", type=float, default=600, help="no round begins later than this (default: 600)")
    parser.add_argument("--rounds", type=int, default=0, help="at most so many rounds (default: any number)")
    parser.add_argument("--on", choices=("sqlite", "postgres"), help="one database only (default: in turn)")
    parser.add_argument("--runs", type=int, default=200, help="runs a round (default: 200)")
    parser.add_argument("--length", type=float, default=20, help="seconds of disturbance a round (default: 20)")
    parser.add_argument("--workers", type=int, default=3, help="worker processes (default: 3)")
    parser.add_argument("--calm", type=float, default=60, help="seconds until everything has to be over (default: 60)")
    options = parser.parse_args(arguments)
    began, failed, seed = time.monotonic(), 0, options.seed
    with ExitStack() as stack:
        server = None if options.on == "sqlite" else stack.enter_context(postgres_server())
        while time.monotonic() - began < options.seconds:
            for kind in ("sqlite", "postgres"):
                if options.on not in (None, kind):
                    continue
                plan = Plan.of(seed, kind, runs=options.runs, seconds=options.length, workers=options.workers)
                folder = Path(tempfile.mkdtemp(prefix=f"flowstmt-chaos-{seed}-"))
                database = SQLite(folder) if kind == "sqlite" else Postgres(server, f"round_{seed}")
                played = asyncio.run(play(plan, database, folder, calm=options.calm))
                print(played, flush=True)
                if played.faults:
                    failed += 1
                    print(
                        *(f"  {fault}" for fault in played.faults), f"  {plan.again}", f"  logs: {folder}", sep="\n", flush=True
                    )
                else:
                    shutil.rmtree(folder)
            seed += 1
            if seed - options.seed == options.rounds:
                break
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
