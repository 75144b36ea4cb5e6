"""Whatever a tree looks like, lint looks at it, and says the same of it in both styles; what nothing leads to never runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstmt import Statement, find, lint, walk
from tests.lint.snippets import CODES_WITHOUT_SOURCES
from tests.meaning import failing_flows, test_branches
from tests.meaning.failing_trees import Troubles, courses, troubled
from tests.meaning.flows import Record, Style, flow_class
from tests.meaning.python_rounds import in_python
from tests.meaning.trees import Taste, starts, trees

EXAMPLES = int(os.environ.get("FLOWSTMT_EXAMPLES", "0"))
some = settings(max_examples=EXAMPLES or 30, derandomize=not EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

TREES = st.one_of(trees(Taste()), trees(Taste(threads=True, size=24)), trees(Taste(wild=True, threads=True)))
STYLES: tuple[Style, ...] = ("instance", "class")


def structure(found: list[lint.Finding]) -> list[tuple[str, str]]:
    """What can be said without sources: the callables of these trees are closures, and differ between the styles."""
    assert all(finding.message and finding.cure for finding in found)
    return [(finding.code, finding.place) for finding in found if finding.code in CODES_WITHOUT_SOURCES]


@some
@given(tree=TREES, start=starts())
def test_lint_looks_at_every_tree(tree, start):
    instance, by_class = [structure(lint.check(start.fresh(flow_class(tree, Record(), style)))) for style in STYLES]
    assert instance == by_class


@some
@given(tree=test_branches.trees, background=test_branches.bodies(test_branches.leaves))
def test_lint_looks_at_every_tree_of_branches(tree, background):
    structure(lint.check(test_branches.workflow(tree, background)))


@some
@given(tree=st.one_of(troubled(Troubles()), troubled(Troubles(sagas=True))), course=courses())
def test_what_nothing_leads_to_does_not_run_in_python_either(tree, course):
    workflows = [
        course.fresh(failing_flows.flow_class(tree, course, failing_flows.Log(), style, is_async=False)) for style in STYLES
    ]
    found = structure(lint.check(workflows[0]))
    assert found == structure(lint.check(workflows[1]))
    unreached = {name for code, place in found if code == "FS401" for name in inside(workflows[0].definition(), place)}
    world, _, _ = in_python(tree, course, 40)
    assert not unreached & {entry[1] for entry in world.trace}


def inside(definition: Statement, place: str) -> Iterator[Any]:
    """The names of a statement that has one and of those in it."""
    named = re.match(r"\w+ '([^']+)'", place)
    statement = find(definition, named[1]) if named is not None else None
    if statement is not None:
        yield from (inner.name for inner in walk(statement) if inner.name)
