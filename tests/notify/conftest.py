"""Alerts to send."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tui.model.alert import Alert, AlertKind
from tui.model.view import Severity

MakeAlert = Callable[..., Alert]


@pytest.fixture
def make_alert() -> MakeAlert:
    def make(number: int = 1, kind: AlertKind = AlertKind.FIRED) -> Alert:
        return Alert(kind, f"{kind}/f{number}", Severity.WARNING, f"guard fired, number {number}", 1.7e9, "test", 12)

    return make
