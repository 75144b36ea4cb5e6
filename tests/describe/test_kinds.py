"""A new statement has a line in the table of descriptions, and a manner in which it is drawn."""

from __future__ import annotations

from flowstmt.core.nodes import KINDS
from flowstmt.describe import charts
from flowstmt.describe.kinds import DESCRIBED
from flowstmt.describe.manners import Drawn


def test_every_kind_of_statement_is_described():
    assert set(DESCRIBED) == set(KINDS)


def test_every_manner_of_drawing_is_known_to_the_charts():
    without_a_box = {Drawn.NOTHING, Drawn.FRAME, Drawn.ARROW, Drawn.CATCH, Drawn.BRANCH}
    assert set(charts._BOXES) == set(Drawn) - without_a_box
    assert set(charts._ARROWS) == set(Drawn) - without_a_box - {Drawn.FAILURE}
