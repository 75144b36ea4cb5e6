"""What a thread is handed, and what it tells the event loop: nothing is forgotten, and nothing out of order."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from flowstmt.engine.handover import Answers, Entries
from tests.engine.running import run, until


@pytest.mark.parametrize("reads", [True, False])
def test_what_threads_hand_in_is_answered_once_and_in_order(reads: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        if not reads:
            monkeypatch.setattr(loop, "add_reader", _cannot)
        entries, answers = Entries(), Answers(loop)
        heard: list[tuple[int, int]] = []
        batches: list[int] = []

        def serve() -> None:
            while True:
                taken = entries.take(100)
                batches.append(len(taken))
                for entry in taken:
                    if entry is None:
                        return
                    answers.tell(heard.append, entry)

        def hand_in(who: int) -> None:
            for number in range(500):
                entries.put((who, number))

        server = threading.Thread(target=serve)
        server.start()
        others = [threading.Thread(target=hand_in, args=(who,)) for who in range(3)]
        for other in others:
            other.start()
        for number in range(500):
            entries.put_all([(3, number)])
            if number % 7 == 0:
                await asyncio.sleep(0)
        await until(lambda: _is(len(heard) == 2000), "all is heard")
        entries.put(None)
        await asyncio.to_thread(server.join, 10)
        assert not server.is_alive()
        assert max(batches) <= 100
        for who in range(4):
            assert [number for came_from, number in heard if came_from == who] == list(range(500))
        answers.leave()

    run(main())


@pytest.mark.parametrize("reads", [True, False])
def test_a_loop_that_is_gone_hears_nothing(reads: bool) -> None:
    loop = asyncio.new_event_loop()
    if not reads:
        loop.add_reader = _cannot  # type: ignore[method-assign, assignment] # as that of Windows
    answers = Answers(loop)
    answers.leave()
    loop.close()
    answers.tell(pytest.fail, "nobody is there")
    answers.tell(pytest.fail, "nobody is there")


def test_what_is_handed_in_at_once_is_taken_at_once() -> None:
    entries = Entries()
    entries.put_all(range(5))
    assert entries.take(3) == [0, 1, 2]
    assert len(entries) == 2
    assert entries.take(3) == [3, 4]
    taken: list[list[int]] = []
    taking = threading.Thread(target=lambda: taken.append(entries.take(10)))
    taking.start()
    entries.put_all(range(5))
    taking.join(10)
    assert taken == [[0, 1, 2, 3, 4]]


def _cannot(*_: Any) -> None:
    raise NotImplementedError


async def _is(what: bool) -> bool:
    return what
