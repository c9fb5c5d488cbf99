"""The whole-engine rig of the end-to-end tests."""

from __future__ import annotations

from tests.e2e.conftest import keystore_file, make_rig

__all__ = ["keystore_file", "make_rig"]
