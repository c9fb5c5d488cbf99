"""The parent's side of the signer: starts the process, talks to it, and believes no signature it has not checked.

Imports neither the signing library nor anything that could open a key file.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.model.signing import (
    PermitRequest,
    PermitSignature,
    SignedTransaction,
    SignerRefused,
    SignerUnavailable,
    SigningPolicy,
    TransactionRequest,
)
from tui.vault import protocol
from tui.vault.errors import printable
from tui.vault.spawn import SignerProcess, start_signer

if TYPE_CHECKING:
    from tui.vault.encoding import Signed

UNLOCK_SECONDS = 120.0
START_SECONDS = 30.0
"""A process that was just started, on a machine that is busy, may take this long for its first answer."""
ANSWER_SECONDS = 3.0
"""Signing takes milliseconds. A defence has something better to do than to wait for a signer that hangs."""


class UnlockRefused(SignerRefused):
    """A key file was not opened. `fault` is a value of `tui.vault.errors.KeystoreFault`."""

    def __init__(self, reason: str, fault: str) -> None:
        super().__init__(reason)
        self.fault = fault


def _unlock_message(keystore: Path, password: str) -> dict[str, object]:
    return {"op": "unlock", "path": str(keystore.absolute()), "password": password}


def spawn_signer(state_directory: Path) -> SignerClient:
    """Start the signer process as `start_signer` does. Raises `SignerUnavailable` if it cannot be started."""
    try:
        started = start_signer(state_directory)
    except OSError as error:
        raise SignerUnavailable(f"the signer process cannot be started ({error.strerror})") from error
    return SignerClient.of(started)


def _signature(told: object) -> Signed | None:
    """The three parts of a signature out of an answer; None where they are not there."""
    from tui.vault.encoding import Signed

    parts = [told.get(name) for name in ("y_parity", "r", "s")] if isinstance(told, dict) else []
    whole = [part for part in parts if isinstance(part, int) and part >= 0]
    return Signed(*whole) if len(whole) == 3 else None


def _made_by(account: str, digest: bytes, signature: Signed) -> bool:
    from tui.vault.encoding import recover

    return recover(digest, signature.y_parity, signature.r, signature.s) == account


class SignerClient:
    """The `Signer` port over a pipe to the signer process. One request at a time; used from one event loop.

    All requests raise `SignerRefused` with the signer's reason, or `SignerUnavailable` when the process is gone, does
    not answer in time, or answered with something else than what was asked. While one request is overdue no other is
    waited for: they are refused at once, until the answer comes.

    Where `start` is given, an unlock starts a new process in place of one that is gone or hangs.

    `withheld`: what the signer left out of the policies in force, because it was not in those that were armed.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        channel: socket.socket,
        start: Callable[[], SignerProcess] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process = process
        self._channel = channel
        self._start = start
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._number = 0
        self._greeted = False
        self._closed = ""
        self._shut = False
        self._asked: tuple[float, float] | None = None
        self.withheld: tuple[str, ...] = ()
        self._withheld: dict[tuple[int, str], tuple[str, ...]] = {}
        self._running: set[asyncio.Task[dict[str, Any]]] = set()

    @classmethod
    def of(cls, started: SignerProcess) -> SignerClient:
        """The client of a process that runs."""
        return cls(started.process, started.channel, started.again)

    @property
    def pid(self) -> int:
        """The signer's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs and the pipe is whole."""
        return not self._closed and self._process.poll() is None

    @property
    def fault(self) -> str | None:
        """Why no signature can be had now, None where nothing is known against it. Looks only, never waits."""
        if not self._closed and (self._process.poll() is not None or self._pipe_ended()):
            self._fail(f"the signer process is gone{self._how_it_ended()}, and the key with it")
        return self._closed or self._overdue()

    def _pipe_ended(self) -> bool:
        try:
            return self._channel.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _how_it_ended(self) -> str:
        code = self._process.poll()
        if code is None:
            return ""
        return f" (killed by signal {-code})" if code < 0 else f" (exit code {code})"

    def _overdue(self) -> str | None:
        if self._asked is None:
            return None
        asked_at, seconds = self._asked
        waited = self._monotonic() - asked_at
        return f"the signer has not answered for {waited:.0f} s" if waited >= seconds else None

    async def look(self) -> None:
        """Ask whether it still answers, so that `fault` is not told by a defence first. What is under way tells it too.

        Raises nothing.
        """
        if not self._running and not self._closed:
            with contextlib.suppress(SignerRefused, SignerUnavailable):
                await self.status()

    async def _start_anew(self) -> None:
        """Another process in place of one that is gone or hangs. Raises `SignerUnavailable`."""
        if self._start is None:
            raise SignerUnavailable(f"{self.fault}; end Trimtab and start it again")
        self._closed = self._closed or "the signer was replaced"
        left = tuple(self._running)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        SignerProcess(self._process, self._channel).close()
        try:
            started = self._start()
        except OSError as error:
            self._closed = f"no new signer process can be started ({error.strerror}); end Trimtab and start it again"
            raise SignerUnavailable(self._closed) from error
        self._process, self._channel, self._start = started.process, started.channel, started.again
        self._greeted, self._closed, self._asked = False, "", None
        self._withheld.clear()
        self.withheld = ()

    async def unlock(self, keystore: Path, password: str) -> str:
        """Decrypt a key file inside the signer (about a second); the account's lower-case address.

        Raises `UnlockRefused` with the keystore's fault, also while it waits after wrong passwords.
        """
        if not self._shut and self.fault is not None:
            await self._start_anew()
        # While the signer derives, the checks of its signatures are loaded, so that the first one is not slow.
        _, answer = await asyncio.gather(
            asyncio.to_thread(importlib.import_module, "tui.vault.encoding"),
            self._request(_unlock_message(keystore, password), UNLOCK_SECONDS),
        )
        address = answer.get("address")
        if not isinstance(address, str):
            raise self._fail("the signer answered an unlock without an address")
        return address

    async def set_policy(self, policy: SigningPolicy) -> None:
        """Replace what the signer may do for the policy's account and chain.

        Free for two minutes after the first policy that follows an unlock: the last of those is what was armed. A
        later one may narrow it and renew the expiry; what it has beyond is left out and told in `withheld`.
        """
        answer = await self._request({"op": "set_policy", "policy": protocol.policy_to_wire(policy)}, ANSWER_SECONDS)
        withheld = answer.get("withheld")
        told = tuple(printable(entry) for entry in withheld) if isinstance(withheld, list) else ()
        self._withheld[policy.chain_id, policy.account.lower()] = told
        self._count_withheld()

    def _count_withheld(self) -> None:
        self.withheld = tuple(dict.fromkeys(line for lines in self._withheld.values() for line in lines))

    async def judge(self, requests: Sequence[TransactionRequest]) -> None:
        """Ask whether all of these would be signed, one after another; nothing is signed or counted."""
        wires = [protocol.transaction_to_wire(request) for request in requests]
        await self._request({"op": "judge_transactions", "requests": wires}, ANSWER_SECONDS)

    async def sign_transaction(self, request: TransactionRequest) -> SignedTransaction:
        """The signed bytes of exactly what was asked: rebuilt here from the request, and whoever signed recovered, also
        of an authorization.
        """
        wire = protocol.transaction_to_wire(request)
        asked = protocol.transaction_from_wire(wire)
        answer = await self._request({"op": "sign_transaction", "request": wire}, ANSWER_SECONDS)
        # Here, not at the top: they load native code, which the first frame need not wait for.
        from eth_hash.auto import keccak

        from tui.vault.encoding import authorization_digest, transaction_bytes, transaction_digest

        signature, authorization = _signature(answer), _signature(answer.get("authorization"))
        right = (authorization is not None) == (asked.delegate is not None)
        if right and authorization is not None:
            right = _made_by(asked.account, authorization_digest(asked), authorization)
        if right and signature is not None:
            right = _made_by(asked.account, transaction_digest(asked, authorization), signature)
            raw = transaction_bytes(asked, signature.y_parity, signature.r, signature.s, authorization)
            digest = "0x" + keccak(raw).hex()
            if right and answer.get("raw") == "0x" + raw.hex() and answer.get("hash") == digest:
                return SignedTransaction(raw, digest)
        raise self._fail("the signer's transaction is not the one that was asked for")

    async def sign_permit(self, request: PermitRequest) -> PermitSignature:
        """The signature of a permit or a delegation, checked here against the request's fields and owner."""
        wire = protocol.permit_to_wire(request)
        asked = protocol.permit_from_wire(wire)
        answer = await self._request({"op": "sign_permit", "request": wire}, ANSWER_SECONDS)
        from tui.vault.encoding import permit_digest, recover

        v, r, s = (answer.get(name) for name in ("v", "r", "s"))
        if (
            isinstance(v, int)
            and isinstance(r, int)
            and isinstance(s, int)
            and recover(permit_digest(asked), v - 27, r, s) == asked.owner
        ):
            return PermitSignature(v, r, s)
        raise self._fail(f"the signer's {request.kind} is not the one that was asked for")

    async def lock(self, account: str | None = None) -> None:
        """Forget the key and the policies of an account, or of all. A process that is gone has forgotten them."""
        if self.fault is None or not self._closed:
            asked: dict[str, object] = (
                {"op": "lock"} if account is None else {"op": "forget", "account": account.lower()}
            )
            await self._request(asked, ANSWER_SECONDS)
        for key in [key for key in self._withheld if account is None or key[1] == account.lower()]:
            del self._withheld[key]
        self._count_withheld()

    async def status(self) -> dict[str, Any]:
        """What is unlocked and armed, whether the kill switch is on, and how closed the process is."""
        return await self._request({"op": "status"}, ANSWER_SECONDS)

    def close(self) -> None:
        """End the process, with the key in it. Never raises; may be called again."""
        self._closed = self._closed or "the signer was closed"
        self._shut = True
        for task in self._running:
            with contextlib.suppress(RuntimeError):  # its loop may be gone
                task.cancel()
        SignerProcess(self._process, self._channel).close()

    async def _request(self, message: dict[str, object], seconds: float) -> dict[str, Any]:
        """Send one message and wait for its answer.

        A caller that gives up (time-out, cancellation) leaves the exchange running to its end, so that the pipe never
        loses step; the late answer is dropped.
        """
        overdue = self._closed or self._overdue()
        if overdue:
            raise SignerUnavailable(overdue)
        if not self._greeted:
            seconds = max(seconds, START_SECONDS)
        task = asyncio.create_task(self._exchange(message, seconds))
        self._running.add(task)
        task.add_done_callback(self._finished)
        try:
            answer = await asyncio.wait_for(asyncio.shield(task), seconds)
        except TimeoutError:
            raise SignerUnavailable(f"the signer has not answered for {seconds:.0f} s") from None
        except asyncio.CancelledError:
            if task.cancelled():
                raise SignerUnavailable(self._closed or "the signer was closed") from None
            raise
        if answer.get("ok") is True and isinstance(answer.get("result"), dict):
            result: dict[str, Any] = answer["result"]
            return result
        reason = printable(answer.get("reason", "no reason given"))
        if answer.get("error") == "refused":
            raise SignerRefused(reason)
        if answer.get("error") == "keystore":
            raise UnlockRefused(reason, printable(answer.get("fault", "")))
        raise SignerUnavailable(f"the signer failed: {reason}")

    def _finished(self, task: asyncio.Task[dict[str, Any]]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that a caller who gave up leaves no warning

    async def _exchange(self, message: dict[str, object], seconds: float) -> dict[str, Any]:
        async with self._lock:
            if self._closed:
                raise SignerUnavailable(self._closed)
            self._number += 1
            try:
                frame = protocol.encode_frame({"id": self._number, **message})
            except protocol.ProtocolError as error:
                raise SignerRefused(f"malformed request: {error}") from None
            self._asked = self._monotonic(), seconds
            try:
                if not self._greeted:
                    greeting = await self._receive()
                    if greeting.get("ok") is not True:
                        raise self._fail(printable(greeting.get("reason", "the signer cannot start")))
                    self._greeted = True
                await asyncio.get_running_loop().sock_sendall(self._channel, frame)
                answer = await self._receive()
            except (OSError, protocol.ProtocolError):
                raise self._fail(f"the signer process is gone{self._how_it_ended()}, and the key with it") from None
            finally:
                self._asked = None
            if answer.get("id") != self._number:
                raise self._fail("the signer answered another question than the one asked")
            return answer

    async def _receive(self) -> dict[str, Any]:
        length = protocol.frame_length(await self._read(protocol.LENGTH.size))
        return protocol.decode_body(await self._read(length))

    async def _read(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length:
            part = await asyncio.get_running_loop().sock_recv(self._channel, length - len(parts))
            if not part:
                raise OSError("end of the pipe")
            parts += part
        return bytes(parts)

    def _fail(self, reason: str) -> SignerUnavailable:
        """Nothing more is asked of a signer that is gone or wrong."""
        self._closed = self._closed or reason
        return SignerUnavailable(reason)
