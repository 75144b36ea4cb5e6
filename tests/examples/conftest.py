"""What all tests of the examples need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_proxy() -> Iterator[None]:
    """Servers of these tests are on this machine, where a proxy that the environment names would not look for them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1,localhost")
        yield
