"""``flowstmt worker module:engine``: a process that moves runs, from its start until somebody asks it to stop.

Rules:

1. SIGTERM or SIGINT: the engine is left, which finishes or hands back what is under way. Exit code 0.
2. Another one ends the process at once, as if nothing had listened; its leases run out.
3. A database that is away is waited for, also at the beginning: the worker is started before it often enough.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType, TracebackType
from typing import Any, Self

from flowstmt.cli.logs import LEVELS, log_to_stderr
from flowstmt.cli.targets import AnyEngine, TargetError, made, told, value_of
from flowstmt.engine import Engine
from flowstmt.errors import FlowstmtError, said

__all__ = ["add_arguments", "run"]

logger = logging.getLogger("flowstmt.worker")

STOPPED, FAILED, UNUSABLE = 0, 1, 2

_ONE_SIGNAL = 0.3
"""Ctrl-C reaches a process and what it was started by, which may hand it on: within so many seconds that is one."""

_TARGETS = """\
engine:
  shop:engine          the Engine or SyncEngine that the module shop has under this name
  shop:make_engine     a function that gives one: plain, async, or with @asynccontextmanager

SIGTERM or Ctrl-C: the worker takes no more runs, and finishes or hands back what is under way within the engine's
shutdown_timeout. Once more: it ends at once, and its runs are taken over when their leases have run out.

exit codes: 0 it was stopped, 1 it could not work (see its log), 2 the engine or an argument can't be used
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _TARGETS
    parser.add_argument("engine", help="the engine, as module:name; modules are found as seen from this folder")
    parser.add_argument("--log-level", choices=LEVELS, help="what is logged, to the standard error (info)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Move the runs of an engine until a signal comes; return the exit code."""
    target = arguments.engine
    try:
        value = value_of(target)
        log_to_stderr(arguments.log_level)
        return asyncio.run(_work(value))
    except TargetError as error:
        sys.stderr.write(told("worker", target, error))
        return UNUSABLE
    except FlowstmtError as error:
        logger.error("the engine %s could not begin: %s", target, said(error))
        return FAILED
    except Exception:
        logger.exception("the engine %s failed", target)
        return FAILED


async def _work(value: Any) -> int:
    async with made(value) as engine:
        if not engine.is_worker:
            raise TargetError(
                "has worker=False, so that it moves no runs: name an engine without that, or a function that makes one"
            )
        with _Signals() as signals:
            if not await signals.come_before(_begin(engine)):
                logger.info("worker %s moves runs of %s in %r", engine.worker_id, ", ".join(engine.workflows), engine.store)
                await signals.asked.wait()
                logger.info(
                    "%s: what is under way is finished or handed back; %s once more ends this at once", *[signals.name] * 2
                )
                await _end(engine)
            logger.info("worker %s has stopped", engine.worker_id)
    return STOPPED


class _Signals:
    """SIGTERM and SIGINT, as long as this is entered: the first is told to who waits, the second is the end."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.name = ""
        self._loop = asyncio.get_running_loop()
        self._since = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        # Nothing is logged here: what this interrupts may be the writing of a log line.
        if not self.name:
            self.name, self._since = signal.Signals(number).name, monotonic()
            self._loop.call_soon_threadsafe(self.asked.set)
        elif monotonic() - self._since > _ONE_SIGNAL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            os._exit(128 + number)  # the first process of a container outlives its signals

    async def come_before(self, task: asyncio.Task[Any]) -> bool:
        """Whether a signal comes before something is done, which is then given up. Raises what that raises."""
        asking = asyncio.create_task(self.asked.wait())
        await asyncio.wait([task, asking], return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
        if task.done():
            await task
            return False
        logger.info("%s, before the engine could begin", self.name)
        task.cancel()
        await asyncio.wait([task])
        return True


def _begin(engine: AnyEngine) -> asyncio.Task[Any]:
    if isinstance(engine, Engine):
        return asyncio.create_task(engine.__aenter__())
    return asyncio.create_task(_in_a_thread(engine.__enter__))


async def _end(engine: AnyEngine) -> None:
    if isinstance(engine, Engine):
        await engine.__aexit__(None, None, None)
    else:
        await _in_a_thread(lambda: engine.__exit__(None, None, None))


async def _in_a_thread(call: Callable[[], Any]) -> None:
    """Wait for a call that blocks; one that is given up keeps the process from nothing, not even from its end."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if ended.done():
            return
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)

    def make() -> None:
        raised: Exception | None = None
        try:
            call()
        except Exception as error:  # noqa: BLE001 it is raised where the call is waited for
            raised = error
        loop.call_soon_threadsafe(settle, raised)

    threading.Thread(target=make, name="flowstmt worker, engine", daemon=True).start()
    await ended
