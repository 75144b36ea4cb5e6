"""A graph of one node that goes back to itself, for either of LangGraph's checkpointers."""

from __future__ import annotations

from time import perf_counter
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph

from benchmarks.peers.contract import ENDLESS, Contender, DiedError, Steps

__all__ = ["Loop"]


class Count(TypedDict):
    number: int
    until: int


class Loop(Contender):
    def __init__(self, store: str, steps: Steps, saver: Any) -> None:
        super().__init__(store, steps)
        saver.setup()
        graph = StateGraph(Count)
        graph.add_node("step", lambda state: {"number": steps(state["number"])})
        graph.add_edge(START, "step")
        graph.add_conditional_edges("step", lambda state: "step" if state["number"] < state["until"] else END)
        self.graph = graph.compile(checkpointer=saver)

    def begin(self, run_id: str, until: int) -> None:
        self._invoke(run_id, {"number": 0, "until": until})

    def resume(self, run_id: str) -> float:
        start = perf_counter()
        self._invoke(run_id, None)
        return start

    def _invoke(self, run_id: str, state: Any) -> None:
        config = {"configurable": {"thread_id": run_id}, "recursion_limit": ENDLESS}
        try:
            # "sync": each checkpoint is written before the next step begins. The default writes it beside that step.
            self.graph.invoke(state, config, durability="sync")
        except DiedError:
            return
