"""The comparison with other durable executions: its own part of it, which needs no packages of others."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version

import pytest

from benchmarks.peers.compare import BEGIN, END, ROOT, Contestant, FailedError, compare, main, markdown, write
from benchmarks.peers.contenders import CONTENDERS, Listed
from benchmarks.peers.contract import ENDLESS, STEPS, Contender, DiedError, Server, Steps
from benchmarks.peers.environments import InstallError, interpreter
from benchmarks.peers.stores import SqliteFile

OURS = [one for one in CONTENDERS if one.store == "SQLite" and not one.requirements]


class Counting(Contender):
    """In memory, and as honest as its subclasses let it be."""

    runs: dict[str, int]

    def begin(self, run_id, until):
        self.runs = {run_id: 0}
        self._go_on(run_id, until)

    def resume(self, run_id):
        self._go_on(run_id, -1)
        return self.steps.begun[0]

    def _go_on(self, run_id, until):
        try:
            while self.runs[run_id] != until:
                self.runs[run_id] = self.steps(self.runs[run_id])
        except DiedError:
            pass

    def close(self):
        pass


class Lazy(Counting):
    def _go_on(self, run_id, until):
        super()._go_on(run_id, until - 1)


class Forgetful(Counting):
    def resume(self, run_id):
        self.runs[run_id] -= 1
        return super().resume(run_id)


def test_our_own_contenders_run_die_and_resume():
    found = compare(OURS, [3, 30], rounds=2, turn=0)
    assert [one.listed.name for one in found] == ["bare UPDATE and commit", "flowstmt", "flowstmt engine"]
    for one in found:
        assert one.fault == ""
        assert len(one.steps) == len(one.cpu) == 2
        assert min(one.steps) > 0
        assert {size: len(times) for size, times in one.resumes.items()} == {3: 2, 30: 2}
        assert one.content is not None
        assert one.content.rows == 1
    floor, *ours = found
    assert floor.versions == []
    for one in ours:
        assert one.versions == [f"flowstmt {version('flowstmt')}"]
    table = markdown(found, [3, 30], "make compare")
    assert "| in SQLite | a step | times flowstmt | CPU of it | resume after 3 | resume after 30 | 30 steps leave |" in table
    assert [line.count("|") for line in table.splitlines() if line.startswith("|")] == [8, 8, 8, 8, 8]
    assert "Not measured" not in table  # nobody else was to be


def test_a_contender_that_does_less_than_the_work_is_found_out():
    honest = Server(Counting("", Steps()))
    assert min(honest.workflows(0) or [0]) > 0
    assert honest.prepare(5) == 5
    assert honest.resume(5) >= 0
    assert honest.resume(5) >= 0
    with pytest.raises(AssertionError, match=f"expected {STEPS} steps up to number {STEPS - 1}, not {STEPS - 1} up to"):
        Server(Lazy("", Steps())).workflows(0)
    forgetful = Server(Forgetful("", Steps()))
    forgetful.prepare(5)
    with pytest.raises(AssertionError, match="expected 1 steps up to number 5, not 1 up to number 4"):
        forgetful.resume(5)


def test_a_contender_that_does_not_run_is_a_row_that_says_why_and_the_others_go_on():
    missing = Listed("nobody", "nobody", "none")
    found = compare([missing, OURS[1]], [2], rounds=1, turn=0)
    assert found[0].fault == "failed: versions: ModuleNotFoundError: No module named 'benchmarks.peers.nobody'"
    assert found[1].fault == ""
    assert f"| nobody | {found[0].fault} |" in markdown(found, [2], "make compare")


def test_a_contender_that_does_not_answer_is_ended(tmp_path):
    contestant = Contestant(OURS[0], sys.executable, SqliteFile(tmp_path / "runs.sqlite"), tmp_path / "log", patience=1)
    try:
        with pytest.raises(FailedError, match="prepare: no answer within 1 s"):
            contestant.order("prepare", done=ENDLESS)
    finally:
        contestant.close()


def test_a_contender_that_cannot_be_installed_says_what_pip_said(tmp_path):
    with pytest.raises(InstallError, match="nowhere"):
        interpreter("nobody", [f"nobody @ file://{tmp_path}/nowhere.whl"], tmp_path / "environments")


def test_a_table_goes_between_the_markers_of_a_document(tmp_path, capsys):
    document = tmp_path / "comparison.md"
    document.write_text(f"Before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    assert main(["--only", "floor_sqlite", "--sizes", "2", "--rounds", "1", "--turn", "0", "--write", str(document)]) == 0
    text = document.read_text(encoding="utf-8")
    assert text.startswith(f"Before\n{BEGIN}\n\nMeasured on ")
    assert text.endswith(f"\n\n{END}\nafter\n")
    assert "old" not in text
    assert text.splitlines()[5] in capsys.readouterr().out
    document.write_text("nothing of the kind", encoding="utf-8")
    with pytest.raises(ValueError, match="has no"):
        write(document, "| |\n")


def test_the_page_of_the_comparison_holds_what_was_measured():
    text = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    measured = text.partition(BEGIN)[2].partition(END)[0]
    assert "with `make compare` on Python" in measured
    shown = {cells[1].strip() for line in measured.splitlines() if len(cells := line.split("|")) > 2}
    assert {one.name for one in CONTENDERS} <= shown


def test_the_readme_shows_figures_of_that_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    rows = {(line.split(" | ")[0].strip("| "), line) for line in page.splitlines() if line.startswith("| ")}
    shown = re.search(r"^\| saved durably .*?\n\n", readme, re.MULTILINE | re.DOTALL)
    assert shown is not None
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in shown[0].strip().splitlines()[2:]]
    assert len(lines) > 5
    for name, *cells in lines:
        product = name.split(",")[0]
        there = [line for row, line in rows if row == product]
        for cell in (cell for cell in cells if cell != "-"):
            assert any(f"| {cell} |" in line for line in there), f"{cell} of {name} is not in docs/comparison.md"
