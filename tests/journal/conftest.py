"""A journal in a directory of a test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tui.journal.store import SqliteJournal, open_journal


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def journal(state: Path) -> Iterator[SqliteJournal]:
    opened = open_journal(state)
    yield opened
    opened.close()
