"""Alerts of a real run: a program and a webhook hear of the defence, and the webhook's token stays where it was set."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tests.e2e.conftest import keystore_file
from tests.faults.test_signals import PASSWORD, ROOT, WAIT, Seat, seat
from tests.notify.test_ways import TOKEN, Hook, hook
from tui.model.intent import FiringState
from tui.notify.webhook import shown_webhook

__all__ = ["hook", "keystore_file", "seat"]

pytestmark = pytest.mark.node


def test_a_defence_is_told_and_no_token_is(seat: Seat, hook: Hook) -> None:
    heard = seat.folder / "heard"
    told = seat.folder / "tell.py"
    told.write_text(f"import sys\nopen({str(heard)!r}, 'a').write(sys.stdin.read())\n")
    config = seat.folder / "config"
    config.mkdir(mode=0o700)
    (config / "settings.toml").write_text(
        f'[alerts]\ncommand = ["{sys.executable}", "{told}"]\nwebhook = "{hook.url}"\nrepeat = "never"\n'
    )
    hook.answers = [(404, {}, TOKEN.encode())]  # the first one is lost, and said to be
    command = [sys.executable, "-m", "tui", "run", "--json", "--log-level", "debug", *seat.arguments]
    command += ["--password-file", str(seat.folder / "password")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        seat.processes.append(run)
        assert run.stdout is not None
        seat.chain.mine()
        while json.loads(run.stdout.readline())["event"] != "armed":
            pass
        seat.chain.set_price("WETH", Decimal(2600))
        seat.until(lambda: seat.firings() == [FiringState.DONE], "the defence")
        seat.until(lambda: heard.exists() and '"done"' in heard.read_text(), "the word of it")
        seat.until(lambda: "done" in [body["kind"] for _, body in hook.got], "the webhook's word of it")
        run.send_signal(signal.SIGTERM)
        out, err = run.communicate(timeout=WAIT)
    kinds = [json.loads(line)["kind"] for line in heard.read_text().splitlines()]
    assert kinds == ["at-risk", "fired", "done", "disarmed"] or kinds == ["fired", "at-risk", "done", "disarmed"]
    assert [body["kind"] for _, body in hook.got] == kinds
    shown = shown_webhook(hook.url)
    lost = [decision.text for decision in seat.decisions() if decision.kind == "alert"]
    assert len(lost) == 2, "once that it fails, once that it works"
    assert all(shown in line for line in lost)
    assert shown.encode() in out
    kept = {config / "settings.toml"}
    written = [path.read_bytes() for path in seat.folder.rglob("*") if path.is_file() and path not in kept]
    assert any(b"alert did not get through" in content for content in written)
    for content in [out, err, *written]:
        assert TOKEN.encode() not in content
        assert PASSWORD.encode() not in content or content == PASSWORD.encode()
    assert Path(seat.state / "heartbeat.json").exists()
