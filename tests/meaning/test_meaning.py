"""Random trees mean what Python means, however they are written, driven, reloaded and killed.

``FLOWSTMT_EXAMPLES=20000 pytest tests/meaning`` looks for faults that the small, fixed sample of every day can't find;
``--hypothesis-show-statistics`` shows what the examples consist of.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from flowstmt import DefinitionError, S, State, dump, resume, validate
from tests.meaning.flows import Compiler, Expected, Played, Player, Record, Style, at, expected, flow_class
from tests.meaning.trees import Body, Script, Start, Taste, faulty, scripts, starts, trees

EXAMPLES = int(os.environ.get("FLOWSTMT_EXAMPLES", "0"))
thorough = settings(
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=bool(EXAMPLES),
)

SINGLE = trees(Taste())
THREADS = trees(Taste(threads=True, size=24))
ANY = st.one_of(SINGLE, THREADS)
STARTS = starts()
SCRIPTS = scripts()
STYLES = st.sampled_from(("instance", "class"))


def tell(says: Expected) -> None:
    """Events for the statistics: what share of the examples contains what."""
    for what in says.run.stats:
        event(what)
    if says.stuck:
        event("DefinitionError while running")
    event(f"actions: {min(says.run.stats['action'] // 5 * 5, 25)} or more")
    note(f"calls: {says.calls}")


def agree(says: Expected, played: Played, style: Style) -> None:
    """flowstmt did what the interpreter said."""
    for k, (said, did) in enumerate(zip(says.outcomes, played.outcomes, strict=True)):
        assert (did.did, did.value) == (said.did, said.value), f"call {k}: {says.calls[k]}"
        assert did.data == said.data, f"call {k}: {says.calls[k]}"
        assert did.view == said.view, f"call {k}: {says.calls[k]}"
    assert played.saves == says.saves
    assert played.trace == says.trace(style)


def check(tree: Body, start: Start, script: Script) -> None:
    says = expected(tree, start, script)
    tell(says)
    blobs = []
    styles: tuple[Style, ...] = ("instance", "class")
    for style in styles:
        player = Player(tree, start, style)
        played = player.play(says.calls, says.stuck)
        agree(says, played, style)
        blobs.append([*played.blobs, played.final])
        if says.stuck:
            no_progress(player, played.final, says)
    assert blobs[0] == blobs[1]


def no_progress(player: Player, blob: bytes, says: Expected) -> None:
    """A move that fails fails again, and changes nothing: it neither hangs nor spins."""
    with pytest.raises(DefinitionError):
        resume(player.w, player.state, now=at(says.calls[-1].now))
    again = player.play([], says.stuck)
    assert again.final == blob


@thorough
@given(tree=SINGLE, start=STARTS, script=SCRIPTS)
def test_a_single_thread_does_what_python_does(tree, start, script):
    check(tree, start, script)


@thorough
@given(tree=THREADS, start=STARTS, script=SCRIPTS)
def test_threads_take_turns_by_the_rules_of_rounds(tree, start, script):
    check(tree, start, script)


@thorough
@given(tree=ANY, start=STARTS, script=SCRIPTS, style=STYLES)
def test_reloading_at_every_checkpoint_changes_nothing(tree, start, script, style):
    says = expected(tree, start, script)
    tell(says)
    direct = Player(tree, start, style).play(says.calls, says.stuck)
    # To die right after each save, and to be loaded again, is a round trip at each checkpoint.
    reloaded = Player(tree, start, style, kills=lambda moment, kind: kind == "after save").play(says.calls, says.stuck)
    agree(says, reloaded, style)
    same(direct, reloaded)


@thorough
@given(tree=ANY, start=STARTS, script=SCRIPTS, style=STYLES)
def test_sync_and_async_drivers_leave_the_same_trace(tree, start, script, style):
    says = expected(tree, start, script)
    tell(says)
    direct = Player(tree, start, style).play(says.calls, says.stuck)
    awaited = Player(tree, start, style, is_async=True).play(says.calls, says.stuck)
    agree(says, awaited, style)
    same(direct, awaited)


@thorough
@given(
    tree=ANY,
    start=STARTS,
    script=SCRIPTS,
    style=STYLES,
    is_async=st.booleans(),
    when=st.lists(st.integers(0, 9999), min_size=1, max_size=4),
)
def test_a_run_killed_anywhere_ends_as_if_nothing_had_happened(tree, start, script, style, is_async, when):
    says = expected(tree, start, script)
    tell(says)
    direct = Player(tree, start, style).play(says.calls, says.stuck)
    fatal = {1 + n % (direct.moments + 1) for n in when}
    died: list[str] = []

    def kills(moment: int, kind: str) -> bool:
        if moment in fatal:
            died.append(kind)
        return moment in fatal

    killed = Player(tree, start, style, is_async=is_async, kills=kills).play(says.calls, says.stuck)
    for kind in died:
        event(f"killed {kind}")
    agree(says, killed, style)
    same(direct, killed)


def same(direct: Played, other: Played) -> None:
    """Both did the same, saved the same bytes, and had the same effects outside, by idempotency key."""
    assert other.outcomes == direct.outcomes
    assert other.trace == direct.trace
    assert other.blobs == direct.blobs
    assert other.final == direct.final
    assert other.effects == direct.effects


@thorough
@given(tree=trees(Taste(threads=True, waits=8, size=20)), start=STARTS, script=scripts(wrong=8), style=STYLES)
def test_refused_callbacks_say_why_and_change_nothing(tree, start, script, style):
    """The player holds the bytes before each callback against those after a refusal."""
    says = expected(tree, start, script)
    tell(says)
    agree(says, Player(tree, start, style).play(says.calls, says.stuck), style)


@thorough
@given(tree=trees(Taste(threads=True, spinning=True)), start=STARTS, script=SCRIPTS)
def test_a_loop_without_progress_is_an_error_and_never_a_hang(tree, start, script):
    check(tree, start, script)


@thorough
@given(tree=st.one_of(trees(Taste(wild=True)), trees(Taste(wild=True, threads=True))), style=STYLES)
def test_validate_finds_the_jumps_and_loops_that_linking_forbids(tree, style):
    cls = flow_class(tree, Record(), style)
    definition: Any = cls if style == "class" else cls()
    faults = faulty(tree)
    event("faulty" if faults else "sound")
    for checked in (definition, S(*Compiler(Record(), "class", False).body(tree))):
        found: tuple[str, ...] = ()
        try:
            validate(checked)
        except DefinitionError as error:
            found = error.faults
        assert len(found) == faults, found
    if faults:
        state = State.new("run-1", "Flow")
        flow: Any = cls()
        before = dump(flow, state)
        with pytest.raises(DefinitionError):
            resume(flow, state)
        assert dump(flow, state) == before
