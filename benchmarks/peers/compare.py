"""Measure flowstmt against what else runs on one machine, and print Markdown: ``make compare``.

Each contender has a process of its own. They take turns, so that whatever slows the machine down slows all of them down;
figures are medians of the turns, ratios are medians of the ratios within a turn. Nothing is asserted but that the work was
done: read the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL
from statistics import median
from threading import Timer
from time import perf_counter
from typing import IO, Any

from benchmarks.peers.contenders import CONTENDERS, FLOWSTMT, NOT_MEASURED, Listed
from benchmarks.peers.contract import STEPS
from benchmarks.peers.environments import InstallError, interpreter
from benchmarks.peers.stores import Content, Nowhere, PostgresDatabase, SqliteFile, StoreKind, folder, postgres

__all__ = ["BEGIN", "END", "ROOT", "Contestant", "FailedError", "Measured", "compare", "main", "markdown", "write"]

ROOT = Path(__file__).parents[2]
TITLES = {"SQLite": "in SQLite", "PostgreSQL": "in PostgreSQL", "none": "without a store"}
BEGIN, END = "<!-- make compare -->", "<!-- /make compare -->"


@dataclass
class Measured:
    """What was found out about a contender. ``fault`` says why there is nothing."""

    listed: Listed
    versions: list[str] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    resumes: dict[int, list[float]] = field(default_factory=dict)
    content: Content | None = None
    fault: str = ""


class FailedError(Exception):
    """A contender's process is gone."""


class Contestant:
    """A contender's process, and what it writes to. ``patience``: how many seconds it may take over an order."""

    def __init__(self, listed: Listed, python: str, store: StoreKind, log: Path, patience: float = 180) -> None:
        self.measured = Measured(listed)
        self.store = store
        self.log = log
        self.patience = patience
        module = f"benchmarks.peers.{listed.module}"
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [python, "-m", "benchmarks.peers.contract", module, store.where],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
                text=True,
            )

    def order(self, what: str, **arguments: Any) -> Any:
        orders, answers = self._pipes()
        # A pipe can't be read with a time limit; its end comes with the end of the process.
        watch = Timer(self.patience, self.process.kill)
        watch.start()
        try:
            print(json.dumps({"do": what, **arguments}), file=orders, flush=True)
            answer = answers.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            watch.cancel()
        if not answer:
            if self.process.wait() == -SIGKILL:
                raise FailedError(f"{what}: no answer within {self.patience:g} s")
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise FailedError(f"{what}: {lines[-1] if lines else f'exit status {self.process.returncode}'}")
        return json.loads(answer)

    def close(self) -> None:
        orders, answers = self._pipes()
        try:
            orders.close()
        except BrokenPipeError:
            pass  # an order that it did not live to read
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        answers.close()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        return self.process.stdin, self.process.stdout


def compare(listed: Sequence[Listed], sizes: Sequence[int], *, rounds: int, turn: float) -> list[Measured]:
    """Let them take turns. ``turn``: about how many seconds of workflows each runs, before it is the next one's turn."""
    with ExitStack() as stack:
        path = stack.enter_context(folder())
        server = ""
        if any(one.store == "PostgreSQL" for one in listed):
            server = stack.enter_context(postgres(path / "server"))
        found: list[Measured] = []
        running: list[Contestant] = []
        for i, one in enumerate(listed):
            try:
                python = interpreter(f"{one.module}-{one.store.lower()}", one.requirements)
            except InstallError as error:
                found.append(Measured(one, fault=f"can't be installed: {error}"))
                continue
            contestant = Contestant(one, python, _store(one, path, server, i), path / f"{i}.log")
            stack.callback(contestant.close)
            found.append(contestant.measured)
            running.append(contestant)
        _take_turns(running, sizes, rounds, turn)
        return found


def _store(listed: Listed, path: Path, server: str, number: int) -> StoreKind:
    if listed.store == "SQLite":
        return SqliteFile(path / f"{number}.sqlite")
    if listed.store == "PostgreSQL":
        return PostgresDatabase(server, f"contender_{number}")
    return Nowhere()


def _take_turns(running: list[Contestant], sizes: Sequence[int], rounds: int, turn: float) -> None:
    def versions(contestant: Contestant) -> None:
        contestant.measured.versions = contestant.order("versions")
        contestant.order("workflows", seconds=turn)  # warms up

    def workflows(contestant: Contestant) -> None:
        taken = contestant.order("workflows", seconds=turn)
        if taken is not None:
            contestant.measured.steps.append(taken[0])
            contestant.measured.cpu.append(taken[1])

    def prepare(contestant: Contestant) -> None:
        for done in sizes:
            before = contestant.store.content()
            contestant.order("prepare", done=done)
            after = contestant.store.content()
            if before is not None and after is not None:
                contestant.measured.content = after - before  # of the longest run, which is the last one
            contestant.order("resume", done=done)  # warms up

    def resume(contestant: Contestant) -> None:
        # Whichever is first in a turn finds cold caches, so each is as often as the others.
        first = len(contestant.measured.resumes.get(sizes[0], ())) % len(sizes)
        for done in [*sizes[first:], *sizes[:first]]:
            contestant.measured.resumes.setdefault(done, []).append(contestant.order("resume", done=done))

    for do in [versions, *[workflows] * rounds, prepare, *[resume] * (len(sizes) * max(1, rounds // 7))]:
        for contestant in list(running):
            try:
                do(contestant)
            except FailedError as error:
                contestant.measured.fault = f"failed: {error}"
                running.remove(contestant)


def markdown(found: Sequence[Measured], sizes: Sequence[int], command: str) -> str:
    """Tables, one for each kind of store, and what one has to know to read them."""
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    lines = [f"Measured on {datetime.now(UTC):%Y-%m-%d} with `{command}` on {machine}, load {os.getloadavg()[0]:.1f}."]
    for store in dict.fromkeys(one.listed.store for one in found):
        rows = [one for one in found if one.listed.store == store]
        base = next((one for one in rows if one.listed.name == FLOWSTMT and not one.fault), None)
        heads = [TITLES[store], "a step", "times flowstmt", "CPU of it", *(f"resume after {size:,}" for size in sizes)]
        heads.append(f"{sizes[-1]:,} steps leave")
        cells = [_cells(one, base, sizes) for one in rows]
        kept = [i for i in range(len(heads)) if any(row[i] for row in cells)]
        lines += ["", *(_row([row[i] for i in kept]) for row in (heads, ["---"] * len(heads), *cells))]
    notes: dict[str, list[str]] = {}
    for one in found:
        known = notes.setdefault(one.listed.name, [])
        if one.listed.note not in known:
            known.append(one.listed.note)
    versions = sorted({version for one in found for version in one.versions})
    lines += [
        "",
        f"A step is a {STEPS}th of a whole workflow of {STEPS} steps, from its start to its end; its CPU is that of the Python",
        "process, and not that of the database. To resume is to get from what is stored to the beginning of the next step.",
        "What a run leaves is the rows of all tables, and the bytes in their columns.",
        f"Versions: {', '.join(versions)}.",
        "",
        *(f"- {name}: {'; '.join(known)}." for name, known in notes.items()),
    ]
    if any(one.listed.requirements for one in found):
        lines += [f"- Not measured: {name}: {why}." for name, why in NOT_MEASURED.items()]
    return "\n".join(lines) + "\n"


def _cells(one: Measured, base: Measured | None, sizes: Sequence[int]) -> list[str]:
    cells = [one.listed.name]
    if one.fault:
        return [*cells, one.fault, *[""] * (len(sizes) + 3)]
    cells += [_time(median(times)) if times else "" for times in (one.steps, one.cpu)]
    cells.insert(2, f"{_ratio(one.steps, base.steps):.2g}" if one.steps and base is not None else "")
    cells += [_time(median(one.resumes[size])) for size in sizes]
    cells.append("" if one.content is None else _content(one.content))
    return cells


def _content(content: Content) -> str:
    return f"{content.rows:,} {'row' if content.rows == 1 else 'rows'}, {content.bytes / 1024:,.1f} KiB"


def _ratio(times: Iterable[float], base: Iterable[float]) -> float:
    return median(ours / theirs for ours, theirs in zip(times, base, strict=True))


def _time(seconds: float) -> str:
    unit, size = next((unit for unit in (("s", 1.0), ("ms", 1e-3)) if seconds >= unit[1]), ("us", 1e-6))
    count = seconds / size
    return f"{count:.{0 if count >= 100 else 1 if count >= 10 else 2}f} {unit}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def write(path: Path, table: str) -> None:
    """Put it between the document's markers."""
    text = path.read_text(encoding="utf-8")
    between = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not between.search(text):
        raise ValueError(f"{path} has no {BEGIN} ... {END}")
    path.write_text(between.sub(lambda _: f"{BEGIN}\n\n{table}\n{END}", text), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="the contenders of these names or modules")
    parser.add_argument("--sizes", nargs="+", type=int, default=[10, 100, 1_000], help="resume after so many steps")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--turn", type=float, default=0.25, help="seconds of workflows in each round, for each contender")
    parser.add_argument("--command", default="make compare", help="what made the table, as it is to say")
    parser.add_argument("--write", type=Path, help="a document that has markers for the tables")
    options = parser.parse_args(arguments)
    wanted = [one for one in CONTENDERS if not options.only or {one.name, one.module} & set(options.only)]
    start = perf_counter()
    found = compare(wanted, sorted(options.sizes), rounds=options.rounds, turn=options.turn)
    table = markdown(found, sorted(options.sizes), options.command)
    print(table)
    print(f"measured in {perf_counter() - start:.0f} s", file=sys.stderr)
    if options.write:
        write(options.write, table)
    return int(any(one.fault.startswith("failed") for one in found))


if __name__ == "__main__":
    sys.exit(main())
