"""The node and the position of the fault tests."""

from __future__ import annotations

from tests.faults.conftest import world

__all__ = ["world"]
