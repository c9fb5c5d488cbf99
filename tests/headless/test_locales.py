"""Commands in a locale whose encoding has no form for `…` and `→`: all is said, what has no form as an escape."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tui.headless.output import data_json

LONG = f'max = "{"9" * 80}"'
RULES = f"""\
[[rule]]
name = "guard"
position = "*"
mode = "auto"
when = {{ health_factor_below = "1.2" }}
target = {{ health_factor = "1.5" }}

[[rule.step]]
action = "repay"
asset = "USDC"
{LONG}
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_fault_is_told_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(RULES)
    ran = subprocess.run(
        [sys.executable, "-m", "tui", "rules", "check", file],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 1
    dots = "…" if encoding == "utf-8" else "\\u2026"
    assert f'{dots}", not a plain decimal number' in ran.stdout.decode(encoding)
    assert b"unexpected" not in ran.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_json_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
    told = {"text": "0x8cd0…0b21: 1 USDC → HF 1.6, é, 🜚"}
    data_json(told)
    assert json.loads(out.getvalue().decode("utf-8")) == told
    assert ("…".encode() in out.getvalue()) == (encoding == "utf-8")
