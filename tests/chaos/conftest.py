"""A server of PostgreSQL that the tests of this folder may restart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.databases import postgres_server


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    with postgres_server() as server:
        yield server
