"""Each check finds what it is for, on its line, and nothing in what looks alike."""

from __future__ import annotations

import pytest

from flowstmt import lint
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
