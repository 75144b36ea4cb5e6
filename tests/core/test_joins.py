"""Maps whose items or definition change while their branches run."""

from __future__ import annotations

import pytest

from flowstmt import Map, S, State, Step, resume
from flowstmt.testing import START
from tests.core.orders import nothing, workflow


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
