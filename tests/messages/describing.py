"""What ``describe`` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowstmt import On, S, State, Step, Wait, describe
from tests.messages.rows import Table

DESCRIBE = Table("Describing a workflow")

TABLES = [DESCRIBE]


@dataclass
class Order:
    sku: str
    paid: int = 0

    def definition(self) -> Any:
        return S(Wait("payment", On("paid", into="paid")), Step("ship", self.ship))

    def ship(self) -> None: ...


class Amount:
    """Of no kind that pydantic knows."""


def take(amount: Amount) -> None: ...


@DESCRIBE.row
def a_class_that_needs_data() -> None:
    describe.to_text(Order)


@DESCRIBE.row
def a_class_whose_defaults_are_refused() -> None:
    @dataclass
    class Refund(Order):
        sku: str = ""

        def __post_init__(self) -> None:
            raise ValueError("a refund needs a sku")

    describe.to_text(Refund)


@DESCRIBE.row
def a_class_whose_definition_needs_data() -> None:
    @dataclass
    class Cart:
        skus: list[str] | None = None

        def definition(self) -> Any:
            return S(*[Step(sku, print) for sku in self.skus])  # type: ignore[union-attr] # the mistake

    describe.to_text(Cart)


@DESCRIBE.row
def schemas_of_a_tree() -> None:
    describe.event_schemas(S(Wait("payment", On("paid", lambda amount: None))))


@DESCRIBE.row
def a_payload_that_nothing_validates() -> None:
    @dataclass
    class Payment:
        def definition(self) -> Any:
            return Wait("payment", On("paid", take))

    describe.event_schemas(Payment())


@DESCRIBE.row
def no_state() -> None:
    describe.to_text(Order("tea"), Order("milk"))


@DESCRIBE.row
def a_snapshot_instead_of_a_state() -> None:
    describe.legal(Order("tea"), b"{}")


@DESCRIBE.row
def a_position_that_is_gone() -> None:
    order, state = Order("tea"), State.new("order-1", "Order")
    state.threads[0].position = "pack"
    describe.legal(order, state)
