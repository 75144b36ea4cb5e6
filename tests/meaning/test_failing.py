"""Try, Fail, Retry, Saga and loops that give up mean what Python's ``try``, ``raise`` and ``while`` mean, wherever they stand.

Each tree is written down as Python, and run: that is what flowstmt is compared with.
``FLOWSTMT_EXAMPLES=20000 pytest tests/meaning`` looks for faults that the small, fixed sample of every day can't find.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import event, given, note, settings
from hypothesis import strategies as st

from tests.meaning.failing_flows import Play, Played, played
from tests.meaning.failing_trees import Course, Troubles, courses, troubled
from tests.meaning.python_rounds import End, in_python
from tests.meaning.test_meaning import EXAMPLES, STYLES, thorough
from tests.meaning.trees import Body

LIMIT = 40
often = settings(thorough, max_examples=EXAMPLES or 50)

TREES = troubled(Troubles())
SAGAS = troubled(Troubles(sagas=True))
THREADS = troubled(Troubles(threads=True, sagas=True, size=24))
ANY = st.one_of(TREES, SAGAS, THREADS)
COURSES = courses()


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Each failed attempt is logged with its traceback, which pytest keeps: thousands of them take longer than the tests."""
    logger = logging.getLogger("flowstmt.rounds")
    logger.disabled = True
    yield
    logger.disabled = False


def expected(tree: Body, course: Course, cancel_at: int | None = None) -> tuple[list[tuple[Any, ...]], End]:
    """What Python does."""
    world, end, source = in_python(tree, course, LIMIT, cancel_at)
    note(source)
    event(f"ends {end.status or 'never'}")
    event(f"trace: {len(world.trace) // 10 * 10} or more")
    for kind in {entry[0] for entry in world.trace}:
        event(kind)
    return world.trace, end


def agree(said: tuple[list[tuple[Any, ...]], End], did: Played) -> None:
    """flowstmt did what Python did."""
    assert did.trace == said[0]
    assert did.end == said[1]


def same(direct: Played, other: Played) -> None:
    """Both did the same, saved the same bytes, and had the same effects outside, by idempotency key."""
    assert other.trace == direct.trace
    assert other.end == direct.end
    assert other.blobs == direct.blobs
    assert other.final == direct.final
    assert other.effects == direct.effects


@often
@given(tree=TREES, course=COURSES)
def test_failures_go_where_they_go_in_python(tree, course):
    check(tree, course)


@often
@given(tree=SAGAS, course=COURSES)
def test_a_saga_that_fails_undoes_its_steps_before_the_failure_goes_outward(tree, course):
    check(tree, course)


@often
@given(tree=THREADS, course=COURSES)
def test_threads_that_fail_take_the_run_along_and_clean_up(tree, course):
    check(tree, course)


@often
@given(tree=st.one_of(SAGAS, THREADS), course=COURSES, cancel_at=st.integers(0, 12))
def test_a_run_that_is_cancelled_cleans_up_and_undoes(tree, course, cancel_at):
    did = check(tree, course, cancel_at)
    if did.plan is None:
        return
    at, steps = did.plan
    happened = did.trace[at:]
    # Where a finally_ does more before, or an attempt waits, the order is not known beforehand.
    if all(entry[0] == "undo" and entry[3] == 1 for entry in happened):
        event(f"plan of {min(len(steps), 3)} steps or more")
        assert steps[: LIMIT - at] == tuple(entry[1] for entry in happened)


def check(tree: Body, course: Course, cancel_at: int | None = None) -> Played:
    """In both styles and both drivers."""
    said = expected(tree, course, cancel_at)
    instance = played(Play(tree, course, LIMIT, cancel_at=cancel_at))
    cls = played(Play(tree, course, LIMIT, "class", cancel_at=cancel_at))
    awaited = played(Play(tree, course, LIMIT, "class", is_async=True, cancel_at=cancel_at))
    agree(said, instance)
    same(instance, cls)
    same(instance, awaited)
    return instance


@often
@given(
    tree=ANY,
    course=COURSES,
    style=STYLES,
    is_async=st.booleans(),
    cancel_at=st.sampled_from((None, None, 0, 1, 2, 3, 5, 8)),
    when=st.lists(st.integers(0, 9999), min_size=1, max_size=4),
)
def test_a_run_killed_while_it_fails_goes_on_failing(tree, course, style, is_async, cancel_at, when):
    direct = played(Play(tree, course, LIMIT, style, cancel_at=cancel_at))
    # To die right after each save, and to be loaded again, is a round trip at each checkpoint.
    reloaded = Play(tree, course, LIMIT, style, kills=lambda moment, kind: kind == "after save", cancel_at=cancel_at)
    same(direct, played(reloaded))
    fatal = {1 + n % (direct.moments + 1) for n in when}
    killed = Play(tree, course, LIMIT, style, is_async, kills=lambda moment, kind: moment in fatal, cancel_at=cancel_at)
    same(direct, played(killed))
