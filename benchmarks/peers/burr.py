"""Burr with its persister for SQLite."""

from __future__ import annotations

from time import perf_counter

from burr import telemetry
from burr.core import ApplicationBuilder, State, action, default, expr
from burr.core.persistence import SQLitePersister

from benchmarks.peers.contract import Contender, DiedError, Steps

__all__ = ["Peer"]


class Peer(Contender):
    packages = ("burr",)

    def __init__(self, store: str, steps: Steps) -> None:
        super().__init__(store, steps)
        telemetry.disable_telemetry()
        self.saver = SQLitePersister.from_values(store)
        self.saver.initialize()

        @action(reads=["number"], writes=["number"])
        def step(state: State) -> State:
            return state.update(number=steps(state["number"]))

        @action(reads=[], writes=[])
        def end(state: State) -> State:
            return state

        self.actions = {"step": step, "end": end}

    def begin(self, run_id: str, until: int) -> None:
        self._run(run_id, until)

    def resume(self, run_id: str) -> float:
        start = perf_counter()
        self._run(run_id, -1)
        return start

    def _run(self, run_id: str, until: int) -> None:
        application = (
            ApplicationBuilder()
            .with_actions(**self.actions)
            .with_transitions(("step", "end", expr("number == until")), ("step", "step", default))
            .with_identifiers(app_id=run_id)
            .initialize_from(
                self.saver, resume_at_next_action=True, default_state={"number": 0, "until": until}, default_entrypoint="step"
            )
            .with_state_persister(self.saver)
            .build()
        )
        try:
            application.run(halt_after=["end"])
        except DiedError:
            return

    def close(self) -> None:
        self.saver.cleanup()
