"""Failures of the public suite show both sides of a comparison, as those of tests do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("flowstmt.testing.store_suite")
