"""The show of ``pizza.py``: orders pizza from worker processes, kills them with SIGKILL at bad moments, and goes on.

This process plays the customers, the manager and the oven. Its workers (``python -m examples.pizza_show worker <folder>``)
take one command per line, as a web server takes requests, and tell what they do, a JSON line each. A command may name a
point at which the worker stops and waits: that is where it gets killed, or where another worker overtakes it. So every
run of the show is the same, and nothing depends on timing.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from textwrap import wrap
from typing import Any

from examples.pizza import Line, Order, Orders
from flowstmt import CallbackError, CallbackRequest, CheckpointType, ConflictError, Current, State, Thread, load

ROOT = Path(__file__).resolve().parent.parent


# --- the worker ----------------------------------------------------------------------------------------------------


def tell(kind: str, text: str) -> None:
    """One line to the show; written at once, for the next instant may be the last."""
    print(json.dumps([kind, text]), flush=True)


class Worker:
    """Runs commands on the orders, and stops where a command says."""

    def __init__(self, folder: Path) -> None:
        self.stop_at = ""
        self.orders = WatchedOrders(folder / "orders.db", Town(folder / "town.db", self.reach), self.reach)

    def reach(self, point: str) -> None:
        """Stop here if this is the point: until the show says to go on, or kills this process."""
        if point == self.stop_at:
            tell("stopped", point)
            sys.stdin.readline()

    def run(self, command: dict[str, Any]) -> None:
        self.stop_at = command.get("stop_at", "")
        now = datetime.fromisoformat(command["now"])
        try:
            tell("done", self.work(command, now))
        except ConflictError as error:
            tell("failed", f"{type(error).__name__}: {error}")
        except CallbackError as error:
            tell("refused", f"{type(error).__name__}: {error}")

    def work(self, command: dict[str, Any], now: datetime) -> str:
        if command["do"] == "wake":
            woken = self.orders.wake(now)
            return f"went on with {', '.join(woken)}" if woken else "no order can do anything by itself"
        if command["do"] == "start":
            self.orders.start(command["order"], Order(command["customer"]), now)
            return "started"
        payload = command["payload"].encode() if "payload" in command else None
        answer = self.orders.callback(command["order"], CallbackRequest(**command["request"]), payload, now)
        return "taken" if answer is None else f"taken: {answer}"


class WatchedOrders(Orders):
    """Tells of every call and every checkpoint, and has points before and after each."""

    def __init__(self, path: Path, town: Town, reach: Callable[[str], None]) -> None:
        super().__init__(path, town)
        self.reach = reach
        self.invoke = self.watch

    def watch(self, current: Current, call: Callable[[], Any]) -> Any:
        tell(current.kind, f"{current.run_id} {current.position!r} in thread {current.thread_id!r}")
        result = call()
        self.reach(f"after {current.kind} {current.position}")
        return result

    def saver(self, order: Order, state: State) -> Callable[..., None]:
        save = super().saver(order, state)

        def watched(kind: CheckpointType | None = None) -> None:
            self.reach(f"before saving {kind or 'callback'}")
            save(kind)
            threads = ", ".join(where(thread) for thread in state.threads) or f"over, result {state.result!r}"
            tell("saved", f"{state.run_id} revision {state.revision}, {kind or 'the callback'}: {threads}")
            self.reach(f"after saving {kind or 'callback'}")

        return watched


def where(thread: Thread) -> str:
    if not thread.position:
        return f"{thread.id} about to start"
    return f"{thread.id} {thread.status} at {thread.position!r}"


class Town:
    """Bank, kitchen and couriers: another file, that the orders know nothing of. Each does its work once per key."""

    def __init__(self, path: Path, reach: Callable[[str], None]) -> None:
        self.reach = reach
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)  # an engine's actions run in threads
        self.db.execute("CREATE TABLE IF NOT EXISTS book (key TEXT PRIMARY KEY, what TEXT, answer TEXT, asked INTEGER) STRICT")
        self.db.execute("CREATE TABLE IF NOT EXISTS pages (url TEXT PRIMARY KEY, request TEXT, open INTEGER) STRICT")

    def once(self, key: str, what: str, answer: str | None) -> str | None:
        """Do the work, and note it under its key; or answer from the note."""
        ask = """INSERT INTO book VALUES (?, ?, ?, 1) ON CONFLICT (key) DO UPDATE SET asked = asked + 1
                 RETURNING asked, answer"""
        asked, noted = self.db.execute(ask, (key, what, answer)).fetchone()
        seen = "" if asked == 1 else f": seen before, not done again, answered {noted!r}"
        tell("outside", f"{what}, key {key}{seen}")
        self.reach(f"outside {what.partition(' ')[0]}")
        return None if noted is None else str(noted)

    def charge(self, key: str, card: str, amount: Decimal) -> str | None:
        declined = card.endswith("0000")
        number = self.db.execute("SELECT count(*) + 1 FROM book WHERE what LIKE 'charge %'").fetchone()[0]
        return self.once(key, f"charge {amount} to ...{card[-4:]}", None if declined else f"payment-{number}")

    def bake(self, key: str, line: Line) -> None:
        self.once(key, f"bake {line.count} x {line.pizza}", "in the oven")

    def send_courier(self, key: str, customer: str) -> str:
        return self.once(key, f"courier to {customer}", "Rosa") or ""

    def open_page(self, key: str, request: CallbackRequest) -> str:
        url = f"/pay/{request.run_id}/{request.pc}"
        self.db.execute("INSERT OR IGNORE INTO pages VALUES (?, ?, 1)", (url, json.dumps(asdict(request))))
        self.once(key, f"page {url} opened", url)
        return url

    def close_page(self, url: str | None) -> None:
        self.db.execute("UPDATE pages SET open = 0 WHERE url = ?", (url,))
        tell("outside", f"page {url} closed")


# --- the show ------------------------------------------------------------------------------------------------------

COLOURS = {
    "title": "1",
    "who": "1;36",
    "saved": "32",
    "outside": "35",
    "killed": "1;31",
    "refused": "33",
    "failed": "33",
    "done": "36",
    "process": "2",
}
WIDTH = 118


def show(label: str, text: str, style: str = "", process: str = "") -> None:
    """A line of the show, folded where it is too long."""
    label = f"{process:>4} {label:<11} "
    lines = [folded for line in text.splitlines() for folded in wrap(line, WIDTH - len(label), subsequent_indent="  ")]
    for i, line in enumerate(lines):
        print(painted((label if i == 0 else " " * len(label)) + line, style), flush=True)


def painted(line: str, style: str) -> str:
    wanted = style in COLOURS and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return f"\033[{COLOURS[style]}m{line}\033[0m" if wanted else line


def title(text: str) -> None:
    line = f"--- {text} ".ljust(WIDTH, "-")
    print(f"\n{painted(line, 'title')}", flush=True)


class Process:
    """A worker process, and what it says."""

    count = 0

    def __init__(self, folder: Path) -> None:
        Process.count += 1
        self.name = f"[{Process.count}]"
        command = [sys.executable, "-m", "examples.pizza_show", "worker", str(folder)]
        self.popen = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        show("process", f"started, pid {self.popen.pid}", "process", self.name)

    def say(self, line: str) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def hear(self) -> Iterator[tuple[str, str]]:
        """What the worker tells, up to the end of its command or the point at which it stops."""
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            kind, text = json.loads(line)
            yield kind, text
            if kind in ("done", "refused", "failed", "stopped"):
                return
        raise SystemExit(f"process {self.name} ended by itself: {self.popen.wait()}")

    def watch(self) -> str:
        """Show what the worker does; return how it ended: done, refused, failed or stopped."""
        kind = ""
        for kind, text in self.hear():
            if kind != "stopped":
                label = {"done": "answer", "saved": "checkpoint"}.get(kind, kind)
                show(label, text, kind, self.name)
        return kind

    def end(self, kill: bool) -> int:
        if kill:
            self.popen.kill()
        status = self.popen.wait() if kill else self._goodbye()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()
        return status

    def _goodbye(self) -> int:
        self.popen.communicate()  # its input ends, and so does it
        return self.popen.returncode


class Show:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = datetime(2026, 1, 1, 18, 0, tzinfo=UTC)
        self.kills = 0
        self.server = Process(folder)

    def ask(self, process: Process, do: str, **command: Any) -> str:
        self.now += timedelta(minutes=1)
        process.say(json.dumps({"do": do, "now": self.now.isoformat(), **command}))
        return process.watch()

    def call(
        self,
        who: str,
        order: str,
        request: str | dict[str, Any],
        payload: str | None = None,
        *,
        why: str = "",
        kill: str = "",
        then: str = "",
    ) -> None:
        """Somebody fires an event; the process that takes it is killed at the point ``kill``, if one is given."""
        names = {"name": request} if isinstance(request, str) else request
        pinned = f" (from page {names['setup_data']})" if names.get("setup_data") else ""
        show(who, f"{names['name']}{' ' + payload if payload else ''}{pinned}{': ' + why if why else ''}", "who")
        given = {} if payload is None else {"payload": payload}
        outcome = self.ask(self.server, "callback", order=order, request=names, stop_at=kill, **given)
        if kill:
            self.kill(outcome, kill, then)

    def kill(self, outcome: str, point: str, then: str) -> None:
        """The process stands at the point: kill it, and let a new one see what can go on."""
        if outcome != "stopped":
            raise SystemExit(f"expected to get to {point!r}, but the command was {outcome}")
        status = self.server.end(kill=True)
        if status != -signal.SIGKILL:
            raise SystemExit(f"the process was not killed: {status}")
        self.kills += 1
        show("KILLED", f"by SIGKILL, exit status {status}, {point}: {then}", "killed", self.server.name)
        self.server = Process(self.folder)
        self.wake()

    def wake(self) -> None:
        show("wake", "which orders have something to do?", "process", self.server.name)
        self.ask(self.server, "wake")

    def page(self) -> dict[str, Any]:
        """The request behind the payment page that is open now: whoever pays sends it back."""
        town = sqlite3.connect(self.folder / "town.db")
        rows = town.execute("SELECT url, request FROM pages WHERE open").fetchall()
        town.close()
        if len(rows) != 1:
            raise SystemExit(f"expected one open payment page, not {rows}")
        url, request = rows[0]
        return {**json.loads(request), "setup_data": url}


def play(show_: Show) -> None:
    call = show_.call

    title("Ann fills her cart; bad input and a crash change nothing")
    show("Ann", "wants to order", "who")
    show_.ask(show_.server, "start", order="order-1", customer="Ann")
    call("Ann", "order-1", "add", '{"pizza": "margherita", "count": 2}')
    call("Ann", "order-1", "add", '{"pizza": "hawaii", "count": 0}', why="INVALID")
    call("Ann", "order-1", "deliver", why="UNKNOWN")
    call(
        "Ann",
        "order-1",
        "add",
        '{"pizza": "diavola"}',
        kill="before saving callback",
        then="the file still holds the cart as it was",
    )
    call("Ann", "order-1", "add", '{"pizza": "diavola"}', why="she got no answer, and sends it again")

    title("Two servers take a request for one order: the slower one must not overwrite the faster one")
    slow = Process(show_.folder)
    show("Ann", "empty: this one is slow", "who")
    show_.ask(slow, "callback", order="order-1", request={"name": "empty"}, stop_at="before saving callback")
    call("Ann", "order-1", "add", '{"pizza": "funghi"}', why="overtakes it")
    slow.say("go on")
    slow.watch()
    slow.end(kill=False)

    title("Bob forgets his cart; Ann submits hers, and nobody has to remember that")
    show("Bob", "wants to order too", "who")
    show_.ask(show_.server, "start", order="order-2", customer="Bob")
    call("Bob", "order-2", "submit", why="TOO EARLY, says the handler")
    call("Bob", "order-2", "add", '{"pizza": "funghi"}')
    call("Ann", "order-1", "submit", kill="after saving callback", then="taken for good; her answer is lost")
    show("clock", "20 minutes pass: a timer is only a column, wake_at", "who")
    show_.now += timedelta(minutes=20)
    show_.wake()

    title("The manager confirms: Ann pays in one thread, the kitchen bakes in another")
    call("manager", "order-1", "confirm", kill="after setup card", then="the page is open, and the file does not know")
    call("manager", "order-1", "confirm", why="DUPLICATE, there was no answer to the first one")
    call("oven", "order-1", "baked", kill="after action bake", then="in the oven, and the file does not know")

    title("A declined card, a double click, a crash while the bank answers")
    first_page = show_.page()
    call("Ann", "order-1", first_page, '{"number": "4000000000000000"}')
    call("Ann", "order-1", first_page, '{"number": "4000000000000000"}', why="STALE, a double click on the old page")
    call(
        "Ann",
        "order-1",
        show_.page(),
        '{"number": "4242424242424242"}',
        kill="outside charge",
        then="the bank has the money, nobody has heard its answer",
    )

    title("The pizza gets to Ann")
    call("oven", "order-1", "baked")
    call("oven", "order-1", "baked", kill="after saving afterStep", then="nothing of that step is left to do")
    call("courier", "order-1", "delivered")
    call("courier", "order-1", "delivered", why="DUPLICATE, the run is over")
    show_.server.end(kill=False)


def account(show_: Show) -> None:
    """What the files hold in the end. Ends the program if the bank or the kitchen worked twice."""
    town = sqlite3.connect(show_.folder / "town.db")
    book = town.execute("SELECT what, asked, answer FROM book ORDER BY rowid").fetchall()
    town.close()
    file = sqlite3.connect(show_.folder / "orders.db")
    snapshots = dict(file.execute("SELECT id, snapshot FROM orders").fetchall())
    file.close()
    title("What the town did")
    for what, asked, answer in book:
        show("asked once" if asked == 1 else f"asked {asked}x", f"done once: {what} -> {answer or 'declined'}")
    charged = [what for what, _, answer in book if what.startswith("charge") and answer]
    show("bank", f"{len(charged)} payment in the book; {show_.kills} processes were killed", "title")

    _, bob = load(Order, snapshots["order-2"])
    ann, state = load(Order, snapshots["order-1"])
    title("What the file holds")
    show("order-2", f"{bob.status}, revision {bob.revision}: {bob.result!r}")
    show("order-1", f"{state.status}, revision {state.revision}, {len(snapshots['order-1'])} bytes")
    receipt(ann.customer, state.result)
    if len(charged) != 1 or state.result["payment"] is None or bob.result != "abandoned":
        raise SystemExit("this is not how it should have ended")


def receipt(customer: str, result: dict[str, Any]) -> None:
    rows = [(f"{count} x {pizza}", price) for count, pizza, price in result["lines"]]
    rows += [("total", result["total"]), ("paid", result["payment"]), ("brought by", result["courier"])]
    title(f"Receipt for {customer}")
    for left, right in rows:
        show("", f"{left:<18}{right:>12}")


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        worker = Worker(Path(sys.argv[2]))
        for line in sys.stdin:
            worker.run(json.loads(line))
        return
    with tempfile.TemporaryDirectory() as folder:
        title("Pizza from processes that get killed; [n] is a process, the rest is the world outside")
        show_ = Show(Path(folder))
        try:
            play(show_)
            account(show_)
        finally:
            if show_.server.popen.poll() is None:
                show_.server.end(kill=True)


if __name__ == "__main__":
    main()
