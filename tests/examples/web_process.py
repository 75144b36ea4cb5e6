"""The shop of ``examples/web.py`` in a process that kills itself with SIGKILL at its n-th point (``DIE_AT``; 0 is never).

``uvicorn --factory tests.examples.web_process:create_app``. A point is before and after each write to the shop's file, and
before and after each effect outside. The courier comes to a customer called Nemo once there is a file ``courier``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from fastapi import FastAPI

from examples.web import make_app
from examples.web_order import Order
from examples.web_store import Shop
from examples.web_town import Town
from flowstmt import CallbackRequest, CheckpointType, State

SECRET = "whsec-test"


class Mortal:
    def __init__(self, left: int) -> None:
        self.left = left
        self.lock = Lock()

    def around(self, call: Callable[..., Any], *arguments: Any) -> Any:
        self.point()
        result = call(*arguments)
        self.point()
        return result

    def point(self) -> None:
        with self.lock:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class MortalTown(Town):
    def __init__(self, path: str, mortal: Mortal) -> None:
        super().__init__(path)
        self.mortal = mortal

    def open_checkout(self, key: str, request: CallbackRequest, cents: int) -> str:
        return self.mortal.around(super().open_checkout, key, request, cents)

    def close_checkout(self, url: str | None) -> None:
        self.mortal.around(super().close_checkout, url)

    def book_courier(self, key: str, customer: str) -> str:
        if customer == "Nemo" and not Path(self.path).with_name("courier").exists():
            raise OSError("no courier for Nemo yet")
        return super().book_courier(key, customer)

    def _once(self, key: str, what: str) -> None:
        self.mortal.around(super()._once, key, what)


class MortalShop(Shop):
    services: MortalTown

    def start(self, order_id: str, order: Order, now: datetime | None = None) -> None:
        self.services.mortal.around(super().start, order_id, order, now)

    def saver(self, order: Order, state: State) -> Callable[..., None]:
        save = super().saver(order, state)

        def dying(kind: CheckpointType | None = None) -> None:
            self.services.mortal.around(save, kind)

        return dying


def create_app() -> FastAPI:
    mortal = Mortal(int(os.environ.get("DIE_AT", "0")))
    shop = MortalShop(os.environ["SHOP_DB"], MortalTown(os.environ["TOWN_DB"], mortal))
    return make_app(shop, SECRET, grace=timedelta(seconds=1))
