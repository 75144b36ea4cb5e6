"""Every message that flowstmt raises or logs is on one page, as it is printed, and somebody has read that page.

The page is ``tests/messages/messages.txt``, the table behind it stands in ``tests/messages``. A message that changes
changes the page (``make messages`` writes it anew); a new one without a row is found by reading flowstmt's source.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flowstmt
from flowstmt import FlowstmtError, errors
from tests.blocks import sources
from tests.messages.foreign import FOREIGN, in_the_words_of_the_page
from tests.messages.page import PAGE, Found, page, provoked
from tests.messages.sites import places, texts
from tests.postgres import Postgres

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "errors.md"

# Hand-made states are among what is dumped.
pytestmark = pytest.mark.usefixtures("odd_states")

_found: list[Found] = []


@pytest.fixture
def found(postgres: Postgres) -> list[Found]:
    """What every row says: provoked once, inside a test, where the suite watches what flowstmt does."""
    if not _found:
        _found.extend(provoked(postgres))
    return _found


def test_the_page_holds_every_message_as_it_is_printed(found: list[Found]) -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(found), "a message has changed: run `make messages`, and read what changed in the page"


def test_every_place_that_raises_or_reports_a_fault_has_a_row(found: list[Found]) -> None:
    seen = set().union(*(row.what.sites for row in found))
    missing = [str(place) for place in places() if not place.is_among(seen)]
    assert not missing, "no row of tests/messages comes to these: add one, then run `make messages`"


def test_every_text_of_a_message_is_on_the_page(found: list[Found]) -> None:
    said = [text for row in found for text in row.what.said]
    missing = [str(text) for text in texts() if not any(text.is_in(one) for one in said)]
    assert not missing, "no row of tests/messages says these: add one, then run `make messages`"


def test_words_of_others_are_taken_for_those_that_the_page_has(found: list[Found]) -> None:
    def other_version() -> None:
        raise ValueError("that is no integer at line 1 column 7")

    text = "$.data.count: that is no integer at line 1 column 7. Mend that"
    expected = "$.data.count: expected an integer at line 1 column 7. Mend that"
    assert in_the_words_of_the_page(text, {"expected an integer": other_version}) == expected
    written = page(found)
    assert [words for words in FOREIGN if words not in written] == []


def test_no_two_rows_of_a_part_have_one_title(found: list[Found]) -> None:
    titles = [(row.table.title, row.title) for row in found]
    assert len(set(titles)) == len(titles)


def test_no_message_quotes_a_value_that_may_be_secret(found: list[Found]) -> None:
    # Rows that hand in payloads and data have the word in their values. A traceback shows causes as well.
    quoted = [
        row.title for row in found if any(re.search(r"secret(?! key)", text) for text in (*row.what.said, *row.what.chain))
    ]
    assert quoted == []


def test_no_message_holds_what_differs_from_run_to_run(found: list[Found]) -> None:
    odd = [row.title for row in found if any(re.search(r" at 0x|/tests/", text) for text in row.what.said)]
    assert odd == []


def test_every_class_of_error_is_on_the_page(found: list[Found]) -> None:
    raised = {type(row.what.error) for row in found}
    classes = [value for value in vars(flowstmt).values() if isinstance(value, type) and issubclass(value, FlowstmtError)]
    assert {cls.__name__ for cls in classes if cls not in raised} <= {
        "FinalError",  # an action's own: it comes as a StepError
        "LeaseLostError",  # logged by the worker that has lost it; whoever called it tries again elsewhere
        "ChildError",  # what catches and their predicates see: a failure of the run says the same
    }


def test_the_guide_shows_messages_as_they_are_printed(found: list[Found]) -> None:
    said = {text for row in found for text in row.what.said}
    tree, *examples = [source.removesuffix("\n") for source in sources(GUIDE, "text")]
    assert tree.startswith("FlowstmtError\n")
    assert [example for example in examples if example not in said] == []
    assert len(examples) >= 10


def test_the_guide_has_the_tree_of_errors() -> None:
    drawn = [
        re.findall(r"^ *([├└│─ ]*)(\w+Error)\b", source.partition("```text")[2] or source, re.MULTILINE)
        for source in (GUIDE.read_text(encoding="utf-8").split("```\n")[0], errors.__doc__ or "")
    ]
    classes = [name for name, value in vars(flowstmt).items() if isinstance(value, type) and issubclass(value, FlowstmtError)]
    assert sorted(name for _, name in drawn[0]) == sorted(classes)
    assert drawn[0] == drawn[1]
