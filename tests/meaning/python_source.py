"""Abstract trees as Python: the source text that they mean.

A Try becomes ``try``, a For ``while``, Break ``break`` and so on. What a statement does besides (an action, a condition, a
policy) is a call of ``world``; ``python_world.py`` has those. So where control goes is decided by Python alone.

``main``, and the body of each Go, is a generator: it yields wherever a thread stands, and ``python_rounds.py`` goes on with it
when its turn has come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.meaning.failing_trees import Attempt, Deal, Errors, Limited, Quit
from tests.meaning.trees import (
    Await,
    Body,
    Branch,
    Each,
    Gather,
    Jump,
    Loop,
    Nap,
    Node,
    Ret,
    Row,
    Section,
    Spawn,
    Until,
)

__all__ = ["Source"]


class Source:
    """The source of a tree: ``text`` defines ``main``. ``things`` are what it refers to by number."""

    def __init__(self, tree: Body) -> None:
        self.things: list[Any] = []
        self._functions: list[list[str]] = []
        self._lines: list[str] = []
        self._indent = 0
        self._function("main", "", tree, "None")
        self.text = "\n\n".join("\n".join(lines) for lines in self._functions) + "\n"

    def _function(self, name: str, parameters: str, body: Body, item: str) -> None:
        outside = self._lines, self._indent
        self._lines, self._indent = [], 0
        with self._block(f"def {name}({parameters}):"):
            self.write("yield from world.begin()")
            self._body(body, item)
        self._functions.append(self._lines)
        self._lines, self._indent = outside

    def write(self, line: str) -> None:
        self._lines.append("    " * self._indent + line)

    def _thing(self, thing: Any) -> str:
        self.things.append(thing)
        return f"things[{len(self.things) - 1}]"

    def _block(self, head: str) -> _Block:
        return _Block(self, head)

    def _body(self, body: Body, item: str) -> None:
        for node in body:
            name = type(node).__name__.lower()
            writer: Callable[[Any, str], None] = getattr(self, f"_write_{'act' if name == 'task' else name}")
            writer(node, item)

    def _write_row(self, node: Row, item: str) -> None:
        self._body(node.body, item)

    def _write_section(self, node: Section, item: str) -> None:
        self._body(node.body, item)

    def _write_act(self, node: Node, item: str) -> None:
        self.write(f"yield from world.act({self._thing(node)}, {item})  # {node.name}")

    def _write_quit(self, node: Quit, item: str) -> None:
        self.write(f"raise world.quit({self._thing(node)}, {item})  # {node.name}")

    def _write_jump(self, node: Jump, item: str) -> None:
        self.write(node.kind)

    def _write_ret(self, node: Ret, item: str) -> None:
        self.write("return" if node.val is None else f"return world.value({self._thing(node.val)}, {item})")

    def _write_nap(self, node: Nap, item: str) -> None:
        self.write(f"yield from world.nap({self._thing(node)}, {item})  # {node.name}")

    def _write_until(self, node: Until, item: str) -> None:
        self.write(f"yield from world.until({self._thing(node)}, {item})  # {node.name}")

    def _write_spawn(self, node: Spawn, item: str) -> None:
        go = f"go{len(self.things)}"
        self.write(f"world.go({self._thing(node)}, {item}, {go})  # {node.name}")
        self._function(go, "item", node.body, "item")

    def _write_gather(self, node: Gather, item: str) -> None:
        self.write(f"yield from world.join({self._thing(node)})  # {node.name}")

    def _write_branch(self, node: Branch, item: str) -> None:
        word = "if"
        for name, cond, body in node.cases:
            with self._block(f"{word} world.truth({self._thing(cond)}, {item}):  # {name}"):
                self._body(body, item)
            word = "elif"
        if node.default is not None:
            with self._block("else:"):
                self._body(node.default, item)

    def _write_loop(self, node: Loop, item: str) -> None:
        cond = "" if node.cond is None else f" and world.truth({self._thing(node.cond)}, {item})"
        with self._block(f"while world.goes_on(){cond}:  # {node.name}"):
            self._body(node.body, item)

    def _write_limited(self, node: Limited, item: str) -> None:
        count = f"count{len(self.things)}"
        cond = "" if node.cond is None else f" and world.truth({self._thing(node.cond)}, {item})"
        self.write(f"{count} = 0")
        with self._block(f"while world.goes_on(){cond}:  # {node.name}"):
            with self._block(f"if {count} == {node.most}:"):
                self.write(f"raise world.too_many({self._thing(node)})")
            self.write(f"{count} += 1")
            self._body(node.body, item)

    def _write_each(self, node: Each, item: str) -> None:
        inner = f"item{len(self.things)}"
        with self._block(f"for {inner} in world.items({self._thing(node)}, {item}):  # {node.name}"):
            self._body(node.body, inner)

    def _write_await(self, node: Await, item: str) -> None:
        self.write(f"event = yield from world.wait({self._thing(node)}, {item})  # {node.name}")
        word = "if"
        for event in node.events:
            with self._block(f"{word} event == {event.name!r}:"):
                self._body(event.body, item)
            word = "elif"

    def _write_attempt(self, node: Attempt, item: str) -> None:
        with self._block(f"try:  # {node.name}"):
            with self._block(f"with world.taking({self._thing(node)}):"):
                self._body(node.body, item)
        for case in node.cases:
            with self._block(f"except {self._clause(case.errors)} as error:"):
                self.write(f"world.caught({self._thing(case)}, error, {item})")
                self._body(case.body, item)
        if node.last is not None:
            with self._block("finally:"):
                with self._block("with world.shield():"):
                    self._body(node.last, item)

    def _clause(self, errors: Errors) -> str:
        if all(kind == "class" for kind, _ in errors.parts):
            return f"({', '.join(name for _, name in errors.parts)},)" if not errors.alone else errors.parts[0][1]
        # Python has no clause for a predicate, but it takes any expression, and evaluates it when an exception gets there.
        return f"world.meant({self._thing(errors)})"

    def _write_deal(self, node: Deal, item: str) -> None:
        saga = f"saga{len(self.things)}"
        self.write(f"{saga} = world.saga({self._thing(node)})  # {node.name}")
        with self._block("try:"):
            self._body(node.body, item)
        with self._block("except (Exception, Cancelled):"):
            self.write(f"yield from world.undo({saga})")
            self.write("raise")
        with self._block("finally:"):
            self.write(f"world.leave({saga})")


class _Block:
    """A compound statement; ``pass`` where nothing was written into it."""

    def __init__(self, source: Source, head: str) -> None:
        self._source = source
        self._head = head

    def __enter__(self) -> None:
        self._source.write(self._head)
        self._source._indent += 1
        self._before = len(self._source._lines)

    def __exit__(self, *raised: object) -> None:
        if len(self._source._lines) == self._before:
            self._source.write("pass")
        self._source._indent -= 1
