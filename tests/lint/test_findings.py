"""Each check finds what it is for, on its line, and nothing in what looks alike."""

from __future__ import annotations

import pytest

from flowstmt import lint
from flowstmt.core.nodes import KINDS
from flowstmt.lint.callables import ACTING, DECIDING
from tests.lint.cases import CASES
from tests.lint.snippets import found, marked, module_of


@pytest.mark.parametrize("title", CASES)
def test_what_is_found_is_what_the_source_says(title, tmp_path):
    module = module_of(CASES[title], tmp_path)
    assert module.__file__ is not None
    assert found(module) == marked(module.__file__)


def test_every_code_has_a_case():
    found = {code for source in CASES.values() for line in source.splitlines() for code in line.partition("# -> ")[2].split()}
    assert lint.CODES.keys() - found == {"FS002"}  # which has tests of its own


# Slots that hold no callable which a driver calls, or one that sees an exception and nothing else.
PLAIN = set(
    "body concurrent errors event fail_fast forever go_names if_approved if_expired if_rejected inline join max_concurrency "
    "max_iterations name need retry schema stay tolerate transactional was".split()
)


def test_of_every_callable_of_a_statement_it_is_said_whether_it_decides_or_acts():
    slots = {slot for kind in KINDS for slot in getattr(kind, "__slots__", ())}
    assert slots - PLAIN <= {*DECIDING, *ACTING}, "add it to DECIDING or ACTING in flowstmt/lint/callables.py, or to PLAIN here"
