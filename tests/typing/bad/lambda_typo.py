"""A typo in a lambda's attribute, class style."""

from __future__ import annotations

from typing import Self

from flowstmt import If, S, Statement, Step
from tests.typing.shop import Shop


class Order(Shop):
    @classmethod
    def definition(cls) -> Statement[Self]:
        return S(If("is paid", lambda o: o.piad, Step("ship", cls.ship)))
