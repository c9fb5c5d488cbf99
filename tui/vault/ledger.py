"""The signer's own memory: what each nonce means, what was spent each day. It outlives the process.

An append-only file of JSON lines, fsynced before any signature leaves; one process holds it at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

from tui.model.signing import SignerRefused, TransactionRequest
from tui.vault.bounded_json import loads
from tui.vault.errors import printable
from tui.vault.policy import NonceBinding, Usage, Verdict
from tui.vault.protocol import UINT64_MAX, Fields, ProtocolError

LEDGER_FILE = "signer-ledger.jsonl"
KILL_FILE = "kill"
DAY = 86_400
MAX_LEDGER_BYTES = 256 * 1024 * 1024

_Account = tuple[int, str]


def kill_switch_is_on(state_directory: Path) -> bool:
    """Whether a file named `kill` is in the state directory. What cannot be looked at counts as on."""
    try:
        if not stat.S_ISDIR(state_directory.stat().st_mode) or not os.access(state_directory, os.R_OK | os.X_OK):
            return True
        (state_directory / KILL_FILE).lstat()
    except FileNotFoundError:
        # The directory was there a moment ago: it is the file that is missing, unless the directory went too.
        return not state_directory.is_dir()
    except OSError:
        return True
    return True


class Ledger:
    """Bindings and daily sums, in memory and on disk. Open it, ask `usage`, `record` before signing, close it."""

    def __init__(self, state_directory: Path) -> None:
        self._directory = state_directory
        self._path = state_directory / LEDGER_FILE
        self._descriptor = -1
        self._size = 0
        self._broken = ""
        self._forget()

    def _forget(self) -> None:
        self._bindings: dict[tuple[int, str, int], NonceBinding] = {}
        self._intents: dict[tuple[int, str, str], int] = {}
        self._spent: dict[tuple[_Account, str], dict[int, int]] = {}
        self._fees: dict[_Account, dict[int, int]] = {}

    @property
    def is_open(self) -> bool:
        """Whether this process holds the file."""
        return self._descriptor >= 0

    def open(self) -> None:
        """Take the file, alone, and read it. Raises `SignerRefused` if another has it, or if it is loose or damaged."""
        if self.is_open:
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._judge_directory()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SignerRefused(f"{self._where()} cannot be opened ({error.strerror}); check the directory") from None
        try:
            self._take(descriptor)
            self._load(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise SignerRefused(f"{self._where()} cannot be read ({error.strerror}); check the disk") from None
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def close(self) -> None:
        """Let the file go."""
        if self.is_open:
            os.close(self._descriptor)
            self._descriptor = -1
        self._broken = ""
        self._forget()

    def _where(self) -> str:
        return printable(self._path)

    def _judge_directory(self) -> None:
        found = self._directory.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
            where = printable(self._directory)
            raise SignerRefused(f"others can write to the state directory {where}; own it and run: chmod 700 {where}")

    def _take(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise SignerRefused(f"{self._where()} is open to others; run: chmod 600 {self._where()}")
        if found.st_size > MAX_LEDGER_BYTES:
            raise SignerRefused(f"{self._where()} is {found.st_size} bytes long; that is not a ledger of this program")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SignerRefused(
                "another signer is at work on this state directory; stop the other engine, or choose another --state"
            ) from None

    def _load(self, descriptor: int) -> None:
        with os.fdopen(os.dup(descriptor), "rb") as stream:
            stream.seek(0)
            content = stream.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            # The tail of a write that never ended: its signature never left, so it may go.
            os.ftruncate(descriptor, whole)
            os.fsync(descriptor)
        self._forget()
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                self._apply(_read_line(line))
            except (ProtocolError, ValueError):
                raise SignerRefused(
                    f"{self._where()} is damaged at line {number}; restore it, or move it away "
                    "once every transaction of this account is final"
                ) from None
        self._size = whole
        descriptor_of_directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor_of_directory)
        finally:
            os.close(descriptor_of_directory)

    def usage(self, request: TransactionRequest, now: int) -> Usage:
        """What was signed before for the request's account, nonce and intent, and on the UTC day of `now`.

        Records dated later than today, after a clock that went back, count for today.
        """
        account = (request.chain_id, request.account)
        today = now // DAY
        spent = {
            token: sum(amount for day, amount in days.items() if day >= today)
            for (owner, token), days in self._spent.items()
            if owner == account
        }
        return Usage(
            binding=self._bindings.get((*account, request.nonce)),
            intent_nonce=self._intents.get((*account, request.intent_id)),
            spent_today=spent,
            fees_today=sum(amount for day, amount in self._fees.get(account, {}).items() if day >= today),
        )

    def record(self, request: TransactionRequest, meaning: str, verdict: Verdict, now: int) -> None:
        """Make a coming signature durable. Raises `SignerRefused` if the disk refuses; then nothing may be signed."""
        entry = {
            "time": now,
            "chain_id": request.chain_id,
            "account": request.account,
            "nonce": request.nonce,
            "intent_id": request.intent_id,
            "meaning": meaning,
            "cancel": verdict.cancel,
            "fee_added": verdict.fee_added,
            "spends": [{"token": token, "amount": amount} for token, amount in verdict.spends],
        }
        self._append(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._apply(entry)

    def _append(self, line: bytes) -> None:
        if not self.is_open or self._broken:
            raise SignerRefused(self._broken or "the signer's ledger is closed")
        try:
            held, named = os.fstat(self._descriptor), self._path.stat(follow_symlinks=False)
            if (held.st_dev, held.st_ino) != (named.st_dev, named.st_ino) or held.st_size != self._size:
                self._broken = f"{self._where()} was changed behind the signer's back; lock, look at it, unlock again"
                raise SignerRefused(self._broken)
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
            os.fsync(self._descriptor)
        except OSError as error:
            self._broken = f"{self._where()} cannot be written ({error.strerror}); free the disk, lock, unlock again"
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise SignerRefused(self._broken) from None
        self._size += len(line)

    def _apply(self, entry: dict[str, Any]) -> None:
        account: _Account = (entry["chain_id"], entry["account"])
        key = (*account, entry["nonce"])
        known = self._bindings.get(key)
        day = entry["time"] // DAY
        if known is None:
            self._bindings[key] = NonceBinding(entry["meaning"], entry["fee_added"], entry["cancel"])
        else:
            self._bindings[key] = NonceBinding(
                known.meaning, known.fee_wei + entry["fee_added"], known.cancelled or entry["cancel"]
            )
        if not entry["cancel"]:
            self._intents[(*account, entry["intent_id"])] = entry["nonce"]
        fees = self._fees.setdefault(account, {})
        fees[day] = fees.get(day, 0) + entry["fee_added"]
        for spend in entry["spends"]:
            days = self._spent.setdefault((account, spend["token"]), {})
            days[day] = days.get(day, 0) + spend["amount"]


def _read_line(line: bytes) -> dict[str, Any]:
    fields = Fields(loads(line), "entry")
    cancel = fields.take("cancel")
    if not isinstance(cancel, bool):
        raise ProtocolError("entry.cancel is not true or false")
    entry = {
        "time": fields.whole("time", UINT64_MAX),
        "chain_id": fields.whole("chain_id", UINT64_MAX),
        "account": fields.address("account"),
        "nonce": fields.whole("nonce", UINT64_MAX),
        "intent_id": fields.text("intent_id", 200),
        "meaning": fields.text("meaning", 66),
        "cancel": cancel,
        "fee_added": fields.whole("fee_added"),
        "spends": fields.each("spends", _read_spend),
    }
    fields.done()
    return entry


def _read_spend(source: object) -> dict[str, Any]:
    fields = Fields(source, "spend")
    # A call may count several words against one token, so a sum may exceed one word.
    spend = {"token": fields.address("token"), "amount": fields.whole("amount", 1 << 270)}
    fields.done()
    return spend
