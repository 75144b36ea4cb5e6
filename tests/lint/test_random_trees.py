"""Whatever a tree looks like, lint looks at it, and says the same of it in both styles."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstmt import lint
from tests.meaning.flows import Record, flow_class
from tests.meaning.trees import Taste, starts, trees

EXAMPLES = int(os.environ.get("FLOWSTMT_EXAMPLES", "0"))
TREES = st.one_of(trees(Taste()), trees(Taste(threads=True, size=24)), trees(Taste(wild=True, threads=True)))

# What is read off sources is another matter: the callables of these trees are closures, and differ between the styles.
STRUCTURE = {code for code in lint.CODES if code < "FS3" or code.startswith("FS4")} - {"FS103"}


@settings(max_examples=EXAMPLES or 60, derandomize=not EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=TREES, start=starts())
def test_lint_looks_at_every_tree(tree, start):
    by_style = []
    for style in ("instance", "class"):
        cls = flow_class(tree, Record(), style)
        found = lint.check(start.fresh(cls))
        assert all(finding.code in lint.CODES and finding.message and finding.cure for finding in found)
        by_style.append([(finding.code, finding.place) for finding in found if finding.code in STRUCTURE])
    assert by_style[0] == by_style[1]
