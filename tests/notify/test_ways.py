"""The ways an alert goes, with real programs and a real server: what arrives, what is bounded, and what never leaks."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.notify.conftest import MakeAlert
from tests.support.clock import FakeClock
from tui.notify.bell import BellWay
from tui.notify.command import CommandWay, environment_for
from tui.notify.webhook import BACK_OFF, WebhookWay, shown_webhook
from tui.ports.notify import NotDelivered

TOKEN = "xoxB-93kfLmQz77TtPp"


def program(folder: Path, code: str, *arguments: str) -> list[str]:
    path = folder / "told.py"
    path.write_text(code)
    return [sys.executable, str(path), str(folder / "out"), *arguments]


WRITE_ALL = """
import json, os, sys
open(sys.argv[1], "w").write(json.dumps({
    "stdin": sys.stdin.read(), "environment": dict(os.environ), "cwd": os.getcwd(), "arguments": sys.argv[2:],
    "session": os.getsid(0), "pid": os.getpid(),
}))
"""


async def test_a_program_gets_the_alert_and_nothing_of_ours(
    tmp_path: Path, make_alert: MakeAlert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB3_PROVIDER_URI", f"https://example.org/{TOKEN}")
    monkeypatch.setenv("TRIMTAB_PASSWORD", TOKEN)
    monkeypatch.setenv("LC_TIME", "C.UTF-8")
    way = CommandWay(program(tmp_path, WRITE_ALL, "$(touch /tmp/never); `id`", "two words"))
    await way.deliver(make_alert())
    found = json.loads((tmp_path / "out").read_text())
    alert = json.loads(found["stdin"])
    assert alert["kind"] == "fired"
    assert alert["text"] == "Trimtab on test: guard fired, number 1"
    assert found["stdin"].count("\n") == 1
    assert found["arguments"] == ["$(touch /tmp/never); `id`", "two words"]
    assert found["cwd"] == "/"
    assert found["session"] == found["pid"] != os.getsid(0)
    assert TOKEN not in json.dumps(found["environment"])
    # The interpreter adds LC_CTYPE by itself where it has no locale.
    assert set(found["environment"]) - {"LC_CTYPE"} <= set(environment_for(os.environ))
    assert found["environment"]["LC_TIME"] == "C.UTF-8"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import sys; print('no such user'); sys.exit(1)", "it says: no such user"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("import sys; print('\\x1b[31m' + sys.argv[2]); sys.exit(1)", "it says: [31m***"),
    ],
)
async def test_a_program_that_fails_says_why_without_its_arguments(
    tmp_path: Path, make_alert: MakeAlert, code: str, why: str
) -> None:
    way = CommandWay(program(tmp_path, code, TOKEN))
    with pytest.raises(NotDelivered) as caught:
        await way.deliver(make_alert())
    assert why in str(caught.value)
    assert TOKEN not in str(caught.value) + way.name
    assert str(caught.value).isprintable()


async def test_a_program_that_is_not_there(make_alert: MakeAlert) -> None:
    with pytest.raises(NotDelivered, match="cannot be started"):
        await CommandWay(["/nonexistent/program", TOKEN]).deliver(make_alert())


async def test_a_program_that_never_ends_is_ended_with_its_children(tmp_path: Path, make_alert: MakeAlert) -> None:
    # A shell: it has its child long before the second is over, also on a busy machine.
    endless = ["sh", "-c", 'sleep 1000 & echo $! > "$0"; sleep 1000', str(tmp_path / "out")]
    with pytest.raises(NotDelivered, match="took more than 1 s"):
        await CommandWay(endless, seconds=1.0).deliver(make_alert())
    child = int((tmp_path / "out").read_text())
    end = time.monotonic() + 60
    while _is_alive(child):
        assert time.monotonic() < end


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_program_that_talks_without_end_is_not_listened_to(tmp_path: Path, make_alert: MakeAlert) -> None:
    code = "import sys\nfor _ in range(3000): sys.stdout.write('x' * 10_000)\nsys.exit(1)"
    with pytest.raises(NotDelivered) as caught:
        await CommandWay(program(tmp_path, code)).deliver(make_alert())
    assert len(str(caught.value)) < 300


async def test_a_program_that_does_not_read_is_no_failure(tmp_path: Path, make_alert: MakeAlert) -> None:
    code = "import os, sys; os.close(0); open(sys.argv[1], 'w').write('it ran')"
    await CommandWay(program(tmp_path, code)).deliver(make_alert())
    assert (tmp_path / "out").read_text() == "it ran"


# --- webhook -------------------------------------------------------------------------------------------------------


@dataclass
class Hook:
    """A server on this machine that answers as it is told, and what it got."""

    port: int = 0
    got: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/services/{TOKEN}?key={TOKEN}"


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.got.append((self.path, json.loads(body)))
            status, headers, content = made.answers.pop(0) if made.answers else (200, {}, b"ok")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            raise AssertionError("a redirect was followed")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


async def _refused(hook: Hook, alert: Any, clock: FakeClock | None = None) -> str:
    way = WebhookWay(hook.url, clock or FakeClock())
    try:
        with pytest.raises(NotDelivered) as caught:
            await way.deliver(alert)
    finally:
        await way.aclose()
    assert TOKEN not in str(caught.value) + way.name + repr(way)
    return str(caught.value)


async def test_an_alert_is_posted_as_json(hook: Hook, make_alert: MakeAlert) -> None:
    way = WebhookWay(hook.url, FakeClock())
    await way.deliver(make_alert(1))
    await way.deliver(make_alert(2))
    await way.aclose()
    assert [path for path, _ in hook.got] == [f"/services/{TOKEN}?key={TOKEN}"] * 2
    assert [body["id"] for _, body in hook.got] == ["fired/f1@1700000000", "fired/f2@1700000000"]
    assert hook.got[0][1]["text"].startswith("Trimtab on test: ")


async def test_trouble_of_the_other_side_is_waited_out(hook: Hook, make_alert: MakeAlert) -> None:
    hook.answers = [(503, {}, b""), (429, {"retry-after": "20"}, b""), (200, {}, b"")]
    clock = FakeClock()
    way = WebhookWay(hook.url, clock)
    await way.deliver(make_alert())
    await way.aclose()
    assert clock.slept == [BACK_OFF[0], 20.0]
    assert len({json.dumps(body) for _, body in hook.got}) == 1, "one alert, the same each time"


async def test_it_gives_up_in_the_end(hook: Hook, make_alert: MakeAlert) -> None:
    hook.answers = [(500, {"retry-after": "99999"}, b"")] * 10
    clock = FakeClock()
    why = await _refused(hook, make_alert(), clock)
    assert "HTTP 500" in why
    assert len(hook.got) == len(BACK_OFF) + 1
    assert max(clock.slept) == 60.0


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 410])
async def test_a_plain_no_and_a_redirect_are_final(hook: Hook, make_alert: MakeAlert, status: int) -> None:
    hook.answers = [(status, {"location": f"http://127.0.0.1:{hook.port}/elsewhere"}, TOKEN.encode())]
    assert str(status) in await _refused(hook, make_alert())
    assert len(hook.got) == 1


async def test_a_huge_answer_is_not_read(hook: Hook, make_alert: MakeAlert) -> None:
    hook.answers = [(200, {}, b"x" * 5_000_000)]
    way = WebhookWay(hook.url, FakeClock())
    await way.deliver(make_alert())
    await way.aclose()
    assert len(hook.got) == 1, "it counts as delivered, and is not told again"


async def test_nobody_there(hook: Hook, make_alert: MakeAlert) -> None:
    port = hook.port
    gone = Hook(port=1)
    why = await _refused(gone, make_alert())
    assert "cannot be reached" in why
    assert port != 1


async def test_a_server_that_keeps_silent_is_not_waited_for(make_alert: MakeAlert) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:  # connections wait there, and nobody takes them
        way = WebhookWay(f"http://127.0.0.1:{listening.getsockname()[1]}/{TOKEN}", FakeClock(), seconds=0.2)
        with pytest.raises(NotDelivered, match="no answer"):
            await way.deliver(make_alert())
        await way.aclose()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://hooks.example.org/services/T0/B0/abc", "https://hooks.example.org/***"),
        ("https://ntfy.sh/mytopic", "https://ntfy.sh/***"),
        ("https://user:secret@example.org:8443/x?y=z#w", "https://example.org:8443/***"),
        ("http://[::1]:9/x", "http://[::1]:9/***"),
        (f"https://{'a1' * 12}.example.org/", "https://***.example.org/***"),
    ],
)
def test_only_the_host_of_a_webhook_is_ever_shown(url: str, shown: str) -> None:
    assert shown_webhook(url) == shown


async def test_the_bell_rings_once_a_second_at_most(make_alert: MakeAlert) -> None:
    clock = FakeClock()
    rung: list[float] = []
    way = BellWay(lambda: rung.append(clock.monotonic()), clock)
    for pause in (0.0, 0.4, 0.4, 0.4):
        clock.advance(pause)
        await way.deliver(make_alert())
    assert rung == [0.0, 1.2000000000000002]
