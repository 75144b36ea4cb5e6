"""A process that forks workers, and kills, freezes and stops them: ``python -m tests.chaos.nursery``.

An interpreter takes half a second to start, and a worker lives no longer than that; a fork takes milliseconds. This process
has no threads, and is the one that waits for its children, so no signal ever goes to a process that has its id by chance.

It reads a JSON line for each thing to do, and writes one for each child that has ended. When its input ends, it kills all.
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import signal
import sys
import traceback
from typing import Any

from tests.chaos import worker

__all__: list[str] = []


def start(config: dict[str, Any]) -> int:
    """Fork a worker; its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(config["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for here, there in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(here, there)
        random.seed()  # or all draw alike
        worker.main(config)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Do what is read, until there is nothing to be read any more."""
    children: dict[str, int] = {}
    rest = b""
    gc.freeze()
    while True:
        # Children end at any time: this is how often they are looked for.
        readable, _, _ = select.select([0], [], [], 0.02)
        if readable:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                _obey(json.loads(line), children)
        for name, pid in list(children.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del children[name]
                print(json.dumps({"ended": name, "status": os.waitstatus_to_exitcode(status)}), flush=True)
    for pid in children.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _obey(order: dict[str, Any], children: dict[str, int]) -> None:
    if "start" in order:
        children[order["start"]["name"]] = start(order["start"])
    elif order["name"] in children:
        os.kill(children[order["name"]], order["signal"])


if __name__ == "__main__":
    main()
