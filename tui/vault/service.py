"""What the signer does with a message: the key, the policies and the order of checks before a signature.

No process, no pipe and no clock of its own here, so that every refusal can be tried without either.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tui.model.pinned import PinnedCode
from tui.model.signing import KILLED_LATE, PermitRequest, SignerRefused, SigningPolicy, TransactionRequest
from tui.vault import protocol
from tui.vault.errors import KeystoreError, KeystoreFault
from tui.vault.ledger import Ledger, kill_switch_is_on
from tui.vault.policy import Verdict, check_permit, check_transaction, clamped

ARMING_SECONDS = 120.0
"""After an unlock, policies may be set freely until this long after the first; what stands then is what was armed.

A later policy may renew the expiry, and narrow. What it has beyond the armed one is withheld, not refused: an engine
that renews while it is watching must not lose its defence over a call that was not there when it was armed.
"""

MAX_BACK_OFF_SECONDS = 300.0

Reply = dict[str, object]


class Service:
    """One signer. `handle` takes a message and gives the reply; it raises nothing."""

    def __init__(
        self,
        state_directory: Path,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        status: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._state = state_directory
        self._now = now
        self._monotonic = monotonic
        self._extra_status = status
        self._ledger = Ledger(state_directory)
        self._signers: dict[str, Any] = {}
        self._policies: dict[tuple[int, str], SigningPolicy] = {}
        self._armed: dict[tuple[int, str], SigningPolicy] = {}
        self._armed_until: dict[tuple[int, str], float] = {}
        self._failures = 0
        self._next_try = 0.0
        self.stopped = False

    def handle(self, message: Mapping[str, Any]) -> Reply:
        """The reply to one message. Refusals are replies; an unforeseen error is named by its class only."""
        number = message.get("id")
        reply: Reply = {"id": number if isinstance(number, int) and not isinstance(number, bool) else 0}
        try:
            fields = protocol.Fields(dict(message), "message")
            fields.whole("id", protocol.UINT64_MAX)
            return reply | {"ok": True, "result": self._dispatch(fields)}
        except SignerRefused as error:
            return reply | {"ok": False, "error": "refused", "reason": str(error)}
        except protocol.ProtocolError as error:
            return reply | {"ok": False, "error": "refused", "reason": f"malformed request: {error}"}
        except KeystoreError as error:
            return reply | {"ok": False, "error": "keystore", "reason": str(error), "fault": error.fault.value}
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, no text that may hold a secret leaves
            return reply | {"ok": False, "error": "internal", "reason": f"unforeseen {type(error).__name__}"}

    def _dispatch(self, fields: protocol.Fields) -> Reply:
        operation = fields.text("op", 32)
        if operation == "unlock":
            path, password = fields.text("path", 4096), fields.text("password", 4096)
            fields.done()
            return self._unlock(Path(path), password)
        if operation == "set_policy":
            policy = protocol.policy_from_wire(fields.take("policy"))
            fields.done()
            return self._set_policy(policy)
        if operation == "sign_transaction":
            request = protocol.transaction_from_wire(fields.take("request"))
            fields.done()
            return self._sign_transaction(request)
        if operation == "judge_transactions":
            requests = fields.each("requests", protocol.transaction_from_wire)
            fields.done()
            return self._judge(requests)
        if operation == "sign_permit":
            permit = protocol.permit_from_wire(fields.take("request"))
            fields.done()
            return self._sign_permit(permit)
        if operation == "forget":
            account = fields.address("account")
            fields.done()
            return self._forget(account)
        if operation not in ("lock", "status", "shutdown"):
            raise SignerRefused("no such request")
        fields.done()
        if operation == "status":
            return self._status()
        self._lock()
        self.stopped = operation == "shutdown"
        return {}

    def _unlock(self, path: Path, password: str) -> Reply:
        wait = self._next_try - self._monotonic()
        if wait > 0:
            raise KeystoreError(
                f"{self._failures} wrong password(s) so far", path, f"Wait {wait:.0f} s.", KeystoreFault.BACK_OFF
            )
        from tui.vault.keystore import decrypt

        self._ledger.open()
        # The derivation leaves the interpreter free for a second: time enough to load the signing library.
        loading = threading.Thread(target=import_module, args=("eth_account",), daemon=True)
        loading.start()
        try:
            key = decrypt(path, password)
        except KeystoreError as error:
            if error.fault is KeystoreFault.PASSWORD:
                self._failures += 1
                self._next_try = self._monotonic() + min(2.0 ** (self._failures - 1), MAX_BACK_OFF_SECONDS)
            if not self._signers:
                self._ledger.close()
            raise
        finally:
            loading.join()
        from eth_account import Account

        signer = Account.from_key(key)
        self._failures = 0
        address = str(signer.address).lower()
        self._signers[address] = signer
        for armed in [armed for armed in self._armed_until if armed[1] == address]:
            del self._armed_until[armed]
        return {"address": address}

    def _lock(self) -> None:
        self._signers.clear()
        self._policies.clear()
        self._armed.clear()
        self._armed_until.clear()
        self._ledger.close()

    def _forget(self, account: str) -> Reply:
        """The same for one account; with the last of them the ledger is let go."""
        self._signers.pop(account, None)
        for kept in (self._policies, self._armed):
            for key in [key for key in kept if key[1] == account]:
                del kept[key]
        for key in [key for key in self._armed_until if key[1] == account]:
            del self._armed_until[key]
        if not self._signers:
            self._lock()
        return {}

    def _status(self) -> Reply:
        return {
            "version": protocol.VERSION,
            "unlocked": sorted(self._signers),
            "policies": [
                {"chain_id": chain_id, "account": account, "expires_at": policy.expires_at}
                for (chain_id, account), policy in sorted(self._policies.items())
            ],
            "killed": kill_switch_is_on(self._state),
            **self._extra_status(),
        }

    def _set_policy(self, policy: SigningPolicy) -> Reply:
        if policy.account not in self._signers:
            raise SignerRefused(f"{policy.account} is not unlocked")
        if policy.expires_at <= self._now():
            raise SignerRefused("the policy has expired already")
        key = (policy.chain_id, policy.account)
        until = self._armed_until.get(key)
        withheld: tuple[str, ...] = ()
        if until is None:
            until = self._armed_until[key] = self._monotonic() + ARMING_SECONDS
        if self._monotonic() <= until:
            self._armed[key] = policy
        else:
            policy, withheld = clamped(policy, self._armed[key])
        self._policies[key] = policy
        return {"withheld": list(withheld)}

    def _policy_for(self, chain_id: int, account: str) -> tuple[Any, SigningPolicy]:
        signer = self._signers.get(account)
        if signer is None:
            raise SignerRefused(f"{account} is not unlocked")
        policy = self._policies.get((chain_id, account))
        if policy is None:
            armed = ", ".join(str(chain) for chain, owner in sorted(self._policies) if owner == account)
            raise SignerRefused(f"chain id {chain_id} is not armed for {account} (armed: {armed or 'none'})")
        return signer, policy

    def _sign_transaction(self, request: TransactionRequest) -> Reply:
        from tui.vault.encoding import transaction_meaning

        signer, policy = self._policy_for(request.chain_id, request.account)
        now = int(self._now())
        meaning = transaction_meaning(request)
        usage = self._ledger.usage(request, now)
        verdict = check_transaction(policy, request, meaning, usage, now=now, killed=kill_switch_is_on(self._state))
        self._ledger.record(request, meaning, verdict, now)
        # Once more, at the last moment: the disk may have been slow.
        if not verdict.cancel and kill_switch_is_on(self._state):
            raise SignerRefused(KILLED_LATE)
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": request.chain_id,
            "nonce": request.nonce,
            "to": bytes.fromhex(request.to[2:]),
            "value": request.value,
            "data": request.data,
            "gas": request.gas,
            "maxFeePerGas": request.max_fee_per_gas,
            "maxPriorityFeePerGas": request.max_priority_fee_per_gas,
            "accessList": (),
        }
        authorization = None if request.delegate is None else _authorized(signer, request, request.delegate)
        if authorization is not None:
            transaction |= {"type": 4, "authorizationList": [authorization]}
        signed = signer.sign_transaction(transaction)
        return {
            "raw": "0x" + bytes(signed.raw_transaction).hex(),
            "hash": "0x" + bytes(signed.hash).hex(),
            "y_parity": signed.v,
            "r": signed.r,
            "s": signed.s,
            "authorization": None
            if authorization is None
            else {"y_parity": authorization.y_parity, "r": authorization.r, "s": authorization.s},
        }

    def _judge(self, requests: Sequence[TransactionRequest]) -> Reply:
        """Refuses as signing these one after another would. Signs nothing, records nothing and keeps nothing."""
        from tui.vault.encoding import transaction_meaning

        now = int(self._now())
        verdicts: dict[tuple[int, str], list[Verdict]] = {}
        for request in requests:
            _, policy = self._policy_for(request.chain_id, request.account)
            earlier = verdicts.setdefault((request.chain_id, request.account), [])
            usage = self._ledger.usage(request, now)
            for verdict in earlier:
                usage = usage.after(verdict)
            killed = kill_switch_is_on(self._state)
            meaning = transaction_meaning(request)
            earlier.append(check_transaction(policy, request, meaning, usage, now=now, killed=killed))
        return {}

    def _sign_permit(self, request: PermitRequest) -> Reply:
        from tui.vault.encoding import domain_separator, permit_digest

        signer, policy = self._policy_for(request.chain_id, request.owner)
        killed = kill_switch_is_on(self._state)
        check_permit(policy, request, now=int(self._now()), killed=killed)
        own = "0x" + domain_separator(request.name, request.version, request.chain_id, request.token).hex()
        if own != request.domain_separator:
            raise SignerRefused(
                f"token {request.token} has another {request.kind} domain than its name and version give; "
                "use approve instead"
            )
        signature = signer.unsafe_sign_hash(permit_digest(request))
        return {"v": signature.v, "r": signature.r, "s": signature.s}


def _authorized(signer: Any, request: TransactionRequest, delegate: PinnedCode) -> Any:
    """The account's own authorization (EIP-7702): for the request's chain, never for all of them, and for the nonce
    that the account has once the transaction has used its own.
    """
    return signer.sign_authorization(
        {"chainId": request.chain_id, "address": bytes.fromhex(delegate.address[2:]), "nonce": request.nonce + 1}
    )
