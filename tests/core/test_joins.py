"""Maps whose items or definition change while their branches run."""

from __future__ import annotations

from copy import deepcopy

import pytest

from flowstmt import Branch, DefinitionError, Go, Map, Parallel, S, Scope, State, Step, WaitFor, resume
from flowstmt.testing import START
from tests.core.orders import Tree, nothing, opened, saved, workflow


@pytest.mark.parametrize("shrinks_at", [1, 2, 3])
@pytest.mark.parametrize("most", [1, 2])
def test_a_map_whose_items_become_fewer_than_it_has_begun_goes_on(shrinks_at: int, most: int):
    """It counts the branches that were begun: nobody would ever have ended as many as it had items, or fewer."""

    def tree(w):
        def work(item: int) -> None:
            w.log.append(item)
            if item == shrinks_at:
                w.kept = 1

        items = [1, 2, 3, 4]
        return S(Map("m", lambda: items[: 1 if w.kept else 4], Step("s", work), max_concurrency=most), Step("z", nothing))

    work, state = workflow(tree)(), State.new("run-1", "Order", START)
    assert resume(work, state, now=START) == "Finished"
    assert work.log == list(range(1, min(4, shrinks_at + most - 1) + 1))


@pytest.mark.parametrize(("before", "after"), [(None, "k{}"), ("k{}", None)], ids=["gets", "loses"])
@pytest.mark.parametrize("steps", range(4))
def test_a_map_under_way_that_gets_or_loses_its_key_keeps_its_results(before: str | None, after: str | None, steps: int):
    def tree(key: str | None):
        by = None if key is None else key.format
        return lambda _: Map("m", [5, 6, 7, 8], Step("s", lambda item: item), key=by, max_concurrency=2, into="log")

    work, state = opened(tree(after), saved(tree(before), max_steps=steps))
    assert resume(work, state, now=START) == "Finished"
    assert work.log == [5, 6, 7, 8]


def test_branches_that_could_not_all_start_leave_no_trace():
    """Two are to begin together, and the second has the key of one that lives."""

    def tree(w):
        late = WaitFor("late", lambda item: w.kept > (3 if item == 0 else 0))
        by = ["same", 1, 2, 3, "same", 5].__getitem__
        branches = Map("m", lambda: range(6 if w.kept else 4), late, key=by, max_concurrency=3, into="log")
        return S(Go("opens", Step("open", lambda: 1, into="kept")), branches)

    work, state = workflow(tree)(), State.new("run-1", "Order", START)
    resume(work, state, now=START, max_steps=0)
    before = deepcopy(state.threads[0])
    with pytest.raises(DefinitionError, match="same"):
        resume(work, state, now=START)
    assert state.threads[0] == before
    work.kept = 4
    assert resume(work, state, now=START) == "Finished"
    assert work.log == [None] * 6


def _branches(order: str, mark: str = "") -> Tree:
    def branch(name: str) -> Branch:
        was = (name,) if mark else ()
        return Branch(name + mark, Step(f"{name}1", nothing), Step(f"{name}2", lambda: name), was=was)

    return lambda _: Scope("sec", Parallel("p", *map(branch, order), into="log"))


@pytest.mark.parametrize("steps", range(1, 4))
@pytest.mark.parametrize("order", ["ab", "ba", "xab", "bxa"])
@pytest.mark.parametrize("mark", ["", "~"], ids=["same names", "renamed"])
def test_results_stay_in_the_order_in_which_the_branches_began(order: str, mark: str, steps: int):
    work, state = opened(_branches(order, mark), saved(_branches("ab"), max_steps=steps))
    assert resume(work, state, now=START) == "Finished"
    assert work.log == ["a", "b"]
