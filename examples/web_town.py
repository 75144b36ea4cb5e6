"""What is outside of the shop in ``web.py``: a payment provider and a courier, in a SQLite file of their own.

Each does its work once per key, as the real ones do. ``python -m examples.web_town localhost:8000 <order id>`` plays the
provider when the customer has paid: it sends a signed webhook, twice, as providers do now and then.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from flowstmt import CallbackRequest


class Town:
    def __init__(self, path: str | Path) -> None:
        self.path = path
        with self._db() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE IF NOT EXISTS book (key TEXT PRIMARY KEY, what TEXT, asked INT) STRICT")
            db.execute(
                "CREATE TABLE IF NOT EXISTS checkouts (url TEXT PRIMARY KEY, reference TEXT, cents INT, open INT) STRICT"
            )

    @contextmanager
    def _db(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self.path, isolation_level=None)
        try:
            yield db
        finally:
            db.close()

    def open_checkout(self, key: str, request: CallbackRequest, cents: int) -> str:
        url = f"https://pay.example/{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        with self._db() as db:
            row = (url, json.dumps(asdict(request)), cents)
            db.execute("INSERT OR IGNORE INTO checkouts VALUES (?, ?, ?, 1)", row)
        return url

    def close_checkout(self, url: str | None) -> None:
        with self._db() as db:
            db.execute("UPDATE checkouts SET open = 0 WHERE url = ?", (url,))

    def refund(self, key: str, payment_id: str) -> None:
        self._once(key, f"refund of {payment_id}")

    def book_courier(self, key: str, customer: str) -> str:
        self._once(key, f"courier to {customer}")
        return f"parcel-{hashlib.sha256(key.encode()).hexdigest()[:8]}"

    def _once(self, key: str, what: str) -> None:
        with self._db() as db:
            db.execute("INSERT INTO book VALUES (?, ?, 1) ON CONFLICT (key) DO UPDATE SET asked = asked + 1", (key, what))

    def webhook(self, order_id: str, payment_id: str, secret: str, cents: int | None = None) -> tuple[dict[str, str], bytes]:
        """Headers and body of what the provider sends once the customer has paid on the page that was opened last."""
        find = "SELECT reference, cents FROM checkouts WHERE reference ->> 'run_id' = ? ORDER BY rowid DESC"
        with self._db() as db:
            reference, total = db.execute(find, (order_id,)).fetchone()
        payment = {"id": payment_id, "cents": total if cents is None else cents}
        body = json.dumps({"payment": payment, "reference": json.loads(reference)}).encode()
        now = int(time.time())
        signed = hmac.new(secret.encode(), f"{now}.".encode() + body, hashlib.sha256).hexdigest()
        return {"X-Signature": f"t={now},v1={signed}"}, body


if __name__ == "__main__":
    import httpx

    town = Town(os.environ.get("TOWN_DB", "town.db"))
    headers, body = town.webhook(sys.argv[2], f"payment-{time.time_ns()}", os.environ["SHOP_SECRET"])
    for _ in range(2):
        answer = httpx.post(f"http://{sys.argv[1]}/webhooks/payment", headers=headers, content=body)
        print(answer.status_code, answer.text)
