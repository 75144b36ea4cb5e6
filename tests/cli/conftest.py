"""The databases of these tests are those of the engine's."""

from __future__ import annotations

from tests.engine.conftest import shared_database

__all__ = ["shared_database"]
