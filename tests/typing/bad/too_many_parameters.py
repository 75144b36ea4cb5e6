"""An action that takes more than it can be given."""

from __future__ import annotations

from flowstmt import Statement, Step
from tests.typing.shop import Line, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return Step("move", self.move)

    def move(self, line: Line, place: str, at: int) -> None: ...
