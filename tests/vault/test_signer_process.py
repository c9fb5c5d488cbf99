"""The signer as a process: what it gives away, when it dies, and what the parent believes of it."""

from __future__ import annotations

import asyncio
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from tests.support.forged_signer import fields_of, forged_signer, result_of
from tui.model.signing import (
    AllowedCall,
    AllowedPermit,
    PermitKind,
    PermitRequest,
    SignerRefused,
    SignerUnavailable,
    SigningPolicy,
    TransactionRequest,
)
from tui.vault import protocol
from tui.vault.client import SignerClient, UnlockRefused, spawn_signer
from tui.vault.encoding import domain_separator
from tui.vault.ledger import KILL_FILE
from tui.vault.signer_child import serve

ROOT = Path(__file__).resolve().parents[2]
POOL = "0x" + "11" * 20
USDC = "0x" + "33" * 20
GWEI = 10**9


def policy(account: str) -> SigningPolicy:
    return SigningPolicy(
        chain_id=31337,
        account=account,
        calls=(AllowedCall(POOL, "0x573ade81"),),
        permits=(AllowedPermit(USDC, POOL, 5_000), AllowedPermit(POOL, USDC, 9, PermitKind.DELEGATION)),
        daily_caps=(),
        max_fee_per_gas=100 * GWEI,
        max_gas=1_000_000,
        max_fee_wei=10**17,
        max_daily_fee_wei=10**18,
        expires_at=int(time.time()) + 3_600,
    )


def request(account: str, nonce: int = 0, data: bytes = b"\x57\x3a\xde\x81") -> TransactionRequest:
    return TransactionRequest(f"i{nonce}", 31337, account, nonce, POOL, 0, data, 300_000, 50 * GWEI, GWEI)


@pytest.fixture
async def signer(tmp_path: Path) -> AsyncIterator[SignerClient]:
    client = spawn_signer(tmp_path / "state")
    yield client
    client.close()


async def armed(client: SignerClient, key_file: Any) -> None:
    assert await client.unlock(key_file.path, key_file.password) == key_file.address
    await client.set_policy(policy(key_file.address))


def proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def is_under_way(client: SignerClient) -> None:
    """Gives way until the client has a request running."""
    for _ in range(100):
        if client._running:
            return
        await asyncio.sleep(0)
    raise AssertionError("no request was started")


def ends(pid: int, seconds: float = 60.0) -> bool:
    """Whether a process that is not our child ends in time; waits on the kernel, not on a clock."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


async def test_it_signs_and_the_parent_checks(signer: SignerClient, key_file: Any) -> None:
    await armed(signer, key_file)
    for nonce, data in enumerate([b"\x57\x3a\xde\x81", b"\x57\x3a\xde\x81" + b"\x05" * 1_200]):
        signed = await signer.sign_transaction(request(key_file.address, nonce, data))
        assert signed.raw[0] == 2
        assert Account.recover_transaction(signed.raw).lower() == key_file.address
    separator = "0x" + domain_separator("USD Coin", "2", 31337, USDC).hex()
    permit = await signer.sign_permit(
        PermitRequest("i", 31337, USDC, "USD Coin", "2", separator, key_file.address, POOL, 1, 0, int(time.time()) + 60)
    )
    assert permit.v in (27, 28)
    separator = "0x" + domain_separator("Debt", "1", 31337, POOL).hex()
    delegation = PermitRequest("i", 31337, POOL, "Debt", "1", separator, key_file.address, USDC, 9, 0,
                               int(time.time()) + 60, PermitKind.DELEGATION)  # fmt: skip
    assert (await signer.sign_permit(delegation)).v in (27, 28)
    with pytest.raises(SignerRefused, match="not on the list"):
        await signer.sign_permit(replace(delegation, kind=PermitKind.PERMIT))
    # An address in mixed case is the same account.
    mixed = replace(request(Account.from_key(key_file.key).address, 2), to=POOL.upper().replace("X", "x"))
    assert (await signer.sign_transaction(mixed)).raw[0] == 2
    with pytest.raises(SignerRefused, match="another meaning"):
        await signer.sign_transaction(request(key_file.address, 0, b"\x57\x3a\xde\x81\x01"))
    await signer.lock()
    with pytest.raises(SignerRefused, match="not unlocked"):
        await signer.sign_transaction(request(key_file.address, 3))


async def test_the_kill_file_stops_it_between_two_signatures(
    signer: SignerClient, key_file: Any, tmp_path: Path
) -> None:
    await armed(signer, key_file)
    await signer.sign_transaction(request(key_file.address, 0))
    (tmp_path / "state" / KILL_FILE).touch()
    with pytest.raises(SignerRefused, match="kill switch"):
        await signer.sign_transaction(request(key_file.address, 1))
    assert (await signer.status())["killed"] is True


async def test_wrong_password_and_unsafe_file_keep_their_fault(
    signer: SignerClient, key_file: Any, own_key_file: Any
) -> None:
    own_key_file.path.chmod(0o640)
    with pytest.raises(UnlockRefused, match="chmod 600") as unsafe:
        await signer.unlock(own_key_file.path, own_key_file.password)
    assert unsafe.value.fault == "unsafe"
    refused: UnlockRefused | None = None
    while refused is None or refused.fault == "password":  # a slow machine has waited already; then it waits for longer
        with pytest.raises(UnlockRefused) as wrong:
            await signer.unlock(key_file.path, "seven red bottles")
        assert refused is not None or wrong.value.fault == "password"
        refused = wrong.value
        assert "red" not in str(refused)
    assert refused.fault == "back-off"
    assert re.search(r"Wait \d+ s", str(refused))


async def test_no_secret_is_in_environment_command_line_or_files(
    signer: SignerClient, key_file: Any, tmp_path: Path
) -> None:
    await armed(signer, key_file)
    await signer.sign_transaction(request(key_file.address))
    secrets = [key_file.password.encode(), key_file.key, key_file.key.hex().encode()]
    places = [Path(f"/proc/{pid}/{name}") for pid in (signer.pid, os.getpid()) for name in ("environ", "cmdline")]
    places += [found for found in (tmp_path / "state").rglob("*") if found.is_file()]
    assert len(places) == 5
    for place in places:
        content = place.read_bytes()
        assert content
        assert not [secret for secret in secrets if secret in content], place
    names = {line.split("=")[0] for line in proc(signer.pid, "environ").split("\0") if line}
    assert names <= {"PATH", "LC_ALL"}
    outputs = {os.readlink(f"/proc/{signer.pid}/fd/{number}") for number in (0, 1, 2)}  # noqa: PTH115
    assert outputs == {"/dev/null"}


async def test_it_is_closed_to_core_dumps_and_alone_in_its_session(signer: SignerClient) -> None:
    status = await signer.status()
    assert (status["pid"], status["dumpable"], status["core_limit"]) == (signer.pid, 0, 0)
    limits = proc(signer.pid, "limits")
    assert [line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]
    assert "Umask:\t0077" in proc(signer.pid, "status")
    assert os.getsid(signer.pid) == signer.pid


async def test_signals_of_the_terminal_do_not_end_it(signer: SignerClient) -> None:
    await signer.status()
    for sent in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGHUP):
        os.kill(signer.pid, sent)
    assert (await signer.status())["pid"] == signer.pid


PARENT = """
import asyncio, os, subprocess, sys, threading
from pathlib import Path
from tui.vault.client import spawn_signer
clients = []
def start():
    clients.append(spawn_signer(Path(sys.argv[1])))
if sys.argv[2] == "thread":
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
else:
    start()
client = clients[0]
holder = 0
if sys.argv[2] == "leaked":
    held = os.dup(client._channel.fileno())
    holder = subprocess.Popen(["cat"], stdin=sys.stdin, stdout=subprocess.DEVNULL, pass_fds=(held,)).pid
asyncio.run(client.status())
print(client.pid, holder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Starts a program that owns a signer; ends whatever is left of both."""
    monkeypatch.setenv("TRIMTAB_TEST_SECRET", "inherited")
    started: list[tuple[subprocess.Popen[str], list[int]]] = []

    def start(how: str, wrapper: Sequence[str] = ()) -> tuple[subprocess.Popen[str], int]:
        command = [*wrapper, sys.executable, "-c", PARENT, str(tmp_path / "state"), how]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        started.append((process, [pid for pid in pids if pid]))
        return process, pids[0]

    yield start
    for process, pids in started:
        process.kill()
        process.communicate()
        for pid in pids:
            if not ends(pid, 0.5):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["plain", "thread", "leaked"])
def test_it_dies_with_its_parent(parent: Any, how: str) -> None:
    """`leaked`: the parent's end of the pipe lives on elsewhere. `thread`: the kernel watches no thread that ended."""
    process, pid = parent(how)
    assert b"inherited" not in Path(f"/proc/{pid}/environ").read_bytes()
    process.kill()
    assert ends(pid)


# Root may look into every process; without this one capability it is a user like any other. Dropped for good by exec.
AS_A_USER = [
    sys.executable,
    "-c",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 19, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])",
]

PROBE = """
import sys
try:
    open(f"/proc/{sys.argv[1]}/mem", "rb").close()
    print("open")
except PermissionError:
    print("closed")
"""


def test_a_process_of_the_same_user_cannot_read_its_memory(parent: Any) -> None:
    process, pid = parent("plain", wrapper=AS_A_USER)
    seen = []
    # The parent is the control: the probe can look into an ordinary process of the same user.
    for victim in (process.pid, pid):
        command = [*AS_A_USER, sys.executable, "-c", PROBE, str(victim)]
        seen.append(subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.strip())
    assert seen == ["open", "closed"]


async def test_a_dead_signer_is_said_and_its_memory_outlives_it(tmp_path: Path, key_file: Any) -> None:
    first = spawn_signer(tmp_path / "state")
    try:
        await armed(first, key_file)
        signed = await first.sign_transaction(request(key_file.address))
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(SignerUnavailable, match="gone"):
            await first.sign_transaction(request(key_file.address, 1))
        with pytest.raises(SignerUnavailable):
            await first.status()
        assert not first.alive
    finally:
        first.close()
    second = spawn_signer(tmp_path / "state")
    try:
        await armed(second, key_file)
        with pytest.raises(SignerRefused, match="another meaning"):
            await second.sign_transaction(request(key_file.address, 0, b"\x57\x3a\xde\x81\x01"))
        assert await second.sign_transaction(request(key_file.address)) == signed
    finally:
        second.close()
    with pytest.raises(SignerUnavailable, match="closed"):
        await second.status()
    assert ends(second.pid, 0)


async def test_a_caller_who_gives_up_does_not_bring_the_pipe_out_of_step(signer: SignerClient, key_file: Any) -> None:
    unlocking = asyncio.create_task(signer.unlock(key_file.path, key_file.password))
    await is_under_way(signer)
    unlocking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await unlocking
    answers = await asyncio.gather(*(signer.status() for _ in range(5)))
    assert [answer["unlocked"] for answer in answers] == [[key_file.address]] * 5


async def test_closing_ends_a_request_under_way(tmp_path: Path, key_file: Any) -> None:
    client = spawn_signer(tmp_path / "state")
    asking = asyncio.create_task(client.unlock(key_file.path, key_file.password))
    await is_under_way(client)
    client.close()
    with pytest.raises(SignerUnavailable, match="closed"):
        await asking
    assert ends(client.pid, 0)
    client.close()


async def test_a_signer_that_cannot_start_says_why(tmp_path: Path) -> None:
    """A state directory on which nothing can be made: the process starts, the unlock is refused with the reason."""
    (tmp_path / "file").touch()
    client = spawn_signer(tmp_path / "file" / "state")
    try:
        with pytest.raises(SignerRefused, match="cannot be opened"):
            await client.unlock(tmp_path / "key.json", "seven green bottles")
    finally:
        client.close()


@pytest.mark.parametrize(
    ("change", "spoil", "believed"),
    [
        ({}, {}, True),
        ({"nonce": 9}, {}, False),
        ({"value": 1}, {}, False),
        ({"to": b"\x22" * 20}, {}, False),
        ({"data": b"\x57\x3a\xde\x81\x01"}, {}, False),
        ({"gas": 300_001}, {}, False),
        ({"maxFeePerGas": 51 * GWEI}, {}, False),
        ({"chainId": 1}, {}, False),
        ({}, {"raw": "0x02"}, False),
        ({}, {"hash": "0x" + "00" * 32}, False),
        ({}, {"y_parity": 7}, False),
        ({}, {"r": None}, False),
        ({}, {"r": -1}, False),
        ({}, {"s": 1 << 300}, False),
    ],
)
async def test_the_parent_believes_only_what_it_asked_for(
    key_file: Any, change: dict[str, Any], spoil: dict[str, Any], believed: bool
) -> None:
    """A signer that answers a transaction request with another transaction, signed by the right key."""

    def forged(asked: dict[str, Any]) -> dict[str, Any]:
        return {**result_of(Account.sign_transaction({**fields_of(asked), **change}, key_file.key)), **spoil}

    with forged_signer(forged) as client:
        if believed:
            assert (await client.sign_transaction(request(key_file.address))).raw[0] == 2
        else:
            with pytest.raises(SignerUnavailable, match="not the one"):
                await client.sign_transaction(request(key_file.address))
            assert not client.alive


@pytest.fixture
def raw_channel(tmp_path: Path) -> Iterator[socket.socket]:
    """A signer's loop behind a pipe that a test may write anything to."""
    mine, theirs = socket.socketpair()
    mine.settimeout(60)

    def run() -> None:
        with theirs:
            serve(theirs, tmp_path / "state")

    thread = threading.Thread(target=run)
    thread.start()
    assert receive(mine)["ok"] is True
    yield mine
    mine.close()
    thread.join(60)
    assert not thread.is_alive()


def receive(channel: socket.socket) -> dict[str, Any]:
    length = protocol.frame_length(channel.recv(4, socket.MSG_WAITALL))
    return protocol.decode_body(channel.recv(length, socket.MSG_WAITALL))


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"null", b'"x"', b"\xff", b"{}", b'{"id": 1}', b'{"id": "1", "op": "status"}',
        b'{"id": -1, "op": "status"}', b'{"id": 1, "op": ["status"]}', b'{"id": 1, "op": "eval"}',
        b'{"id": 1, "op": "unlock"}', b'{"id": 1, "op": "unlock", "path": 1, "password": 2}',
        b'{"id": 1, "op": "sign_transaction", "request": null}', pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"id": ' + b"9" * 5_000 + b', "op": "status"}', id="long"),
    ],
)  # fmt: skip
def test_malformed_messages_are_refused_and_the_next_one_answered(raw_channel: socket.socket, body: bytes) -> None:
    raw_channel.sendall(struct.pack(">I", len(body)) + body)
    reply = receive(raw_channel)
    assert (reply["ok"], reply["error"]) == (False, "refused")
    raw_channel.sendall(protocol.encode_frame({"id": 8, "op": "status"}))
    assert receive(raw_channel)["id"] == 8


@pytest.mark.parametrize("length", [0, protocol.MAX_FRAME_BYTES + 1, 0xFFFFFFFF])
def test_a_frame_of_impossible_length_ends_the_signer(raw_channel: socket.socket, length: int) -> None:
    raw_channel.sendall(struct.pack(">I", length))
    assert "impossible length" in receive(raw_channel)["reason"]
    assert raw_channel.recv(1) == b""


async def test_a_request_that_is_too_large_never_leaves_the_parent(signer: SignerClient, key_file: Any) -> None:
    with pytest.raises(SignerRefused, match="too large"):
        await signer.unlock(key_file.path, "x" * protocol.MAX_FRAME_BYTES)
    assert (await signer.status())["unlocked"] == []


@pytest.mark.parametrize(
    "module", ["tui.vault.client", "tui.vault.keystore", "tui.vault.service", "tui.vault.encoding"]
)
def test_the_parent_loads_no_signing_library(module: str) -> None:
    script = (
        f"import sys, {module}\n"
        "heavy = ('eth_account', 'eth_keys', 'eth_keyfile', 'web3', 'textual', 'py_ecc')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert ran.stdout.strip() == "[]", ran
