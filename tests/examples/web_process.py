"""The shop of ``examples/web.py`` in a process that kills itself with SIGKILL at its n-th point (``DIE_AT``; 0 is never).

``uvicorn --factory tests.examples.web_process:create_app``. A point is before and after each write to the shop's file, and
before and after each effect outside. The courier comes to a customer called Nemo once there is a file ``courier``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from fastapi import FastAPI

from examples.web import make_app
from examples.web_order import Order
from examples.web_store import Shop
from examples.web_town import Town
from flowstmt import CallbackRequest, CheckpointType, State
from tests.examples.processes import Countdown

SECRET = "whsec-test"


class MortalTown(Town):
    def __init__(self, path: str, countdown: Countdown) -> None:
        super().__init__(path)
        self.countdown = countdown

    def open_checkout(self, key: str, request: CallbackRequest, cents: int) -> str:
        url: str = self.countdown.around(super().open_checkout, key, request, cents)
        return url

    def close_checkout(self, url: str | None) -> None:
        self.countdown.around(super().close_checkout, url)

    def book_courier(self, key: str, customer: str) -> str:
        if customer == "Nemo" and not Path(self.path).with_name("courier").exists():
            raise OSError("no courier for Nemo yet")
        return super().book_courier(key, customer)

    def _once(self, key: str, what: str) -> None:
        self.countdown.around(super()._once, key, what)


class MortalShop(Shop):
    services: MortalTown

    def start(self, order_id: str, order: Order, now: datetime | None = None) -> None:
        self.services.countdown.around(super().start, order_id, order, now)

    def saver(self, order: Order, state: State) -> Callable[..., None]:
        save = super().saver(order, state)

        def dying(kind: CheckpointType | None = None) -> None:
            self.services.countdown.around(save, kind)

        return dying


def create_app() -> FastAPI:
    countdown = Countdown(int(os.environ.get("DIE_AT", "0")))
    shop = MortalShop(os.environ["SHOP_DB"], MortalTown(os.environ["TOWN_DB"], countdown))
    return make_app(shop, SECRET, grace=timedelta(seconds=1))
