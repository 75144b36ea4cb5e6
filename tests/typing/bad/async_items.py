"""An async function for the items of a ForEach."""

from __future__ import annotations

from flowstmt import ForEach, Statement, Step
from tests.typing.shop import Line, Shop


class Order(Shop):
    def definition(self) -> Statement:
        return ForEach("lines", self.fetch, Step("pack", self.pack))

    async def fetch(self) -> list[Line]:
        return self.lines
