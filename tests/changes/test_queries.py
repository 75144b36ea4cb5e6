"""The query of ``docs/changes.md`` for PostgreSQL finds what it says; that for SQLite is run by the guide itself."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg

from flowstmt import dump, load, resume
from flowstmt.testing import START
from tests.blocks import sources
from tests.changes.record import FOLDER, stored
from tests.changes.rename_event.new import Order
from tests.changes.rename_go.new import Order as Deliveries
from tests.postgres import Postgres

GUIDE = Path(__file__).parents[2] / "docs" / "changes.md"


def test_the_query_for_postgresql_finds_who_stands_at_a_name(postgres: Postgres):
    (query,) = [source for source in sources(GUIDE, "text") if source.startswith("SELECT ")]
    with psycopg.connect(postgres("queries")) as db:
        db.execute("CREATE TABLE runs (id text PRIMARY KEY, snapshot jsonb)")
        for change in ("rename_event", "rename_for_each", "rename_go"):
            for name, blob in stored(change).items():
                db.execute("INSERT INTO runs VALUES (%s, %s::jsonb)", (f"{change}/{name}", blob.decode()))

        def stand_at(name: str) -> list[tuple[str, str]]:
            found = db.execute(query + " ORDER BY 1, 2", {"name": name}).fetchall()
            return [(str(run), str(thread)) for run, thread in found]

        assert stand_at("ship") == [
            *((f"rename_go/{n}-all-shipped", f"ship:{line}") for n in (1, 2, 3) for line in ("milk", "tea")),
            *((f"rename_go/{n}-all-shipped", "ship:tea") for n in (4, 5, 6)),
        ]
        inside = [name for name in stored("rename_for_each") if name not in ("7-send", "8-end")]
        assert stand_at("lines") == [(f"rename_for_each/{name}", "main") for name in inside]
        before = ("1-payment", "2-payment", "3-payment-paid", "4-send")
        assert stand_at("payment") == stand_at("paid") == [(f"rename_event/{name}", "main") for name in before]
        assert stand_at("cancelled") == [(f"rename_event/{name}", "main") for name in before[:2]]
        assert stand_at("nobody") == []

        # Under new names now, but for what the world outside was given.
        work, state = load(Order, stored("rename_event")["2-payment"])
        resume(work, state, now=START)
        db.execute("INSERT INTO runs VALUES ('renamed', %s::jsonb)", (dump(work, state).decode(),))
        assert stand_at("settled") == [("renamed", "main")]
        assert ("renamed", "main") in stand_at("paid")
        shipping, state = load(Deliveries, stored("rename_go")["1-all-shipped"])
        resume(shipping, state, now=START)
        db.execute("INSERT INTO runs VALUES ('shipping', %s::jsonb)", (dump(shipping, state).decode(),))
        assert ("shipping", "deliver:tea") in stand_at("ship")
        assert ("shipping", "main") not in stand_at("ship")


def test_the_guide_names_every_change_that_is_proven():
    named = set(re.findall(r"\.\./tests/changes/(\w+)/new\.py", GUIDE.read_text(encoding="utf-8")))
    assert named == {path.parent.name for path in FOLDER.glob("*/old.py")}
