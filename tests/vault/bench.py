"""The signer's service with clocks that are set by hand, and short ways to speak to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tui.model.signing import (
    AllowedCall,
    AllowedPermit,
    PermitRequest,
    SigningPolicy,
    TransactionRequest,
    WordRule,
)
from tui.vault import protocol
from tui.vault.encoding import domain_separator
from tui.vault.ledger import LEDGER_FILE
from tui.vault.service import Service

POOL = "0x" + "11" * 20
USDC = "0x" + "33" * 20
SELECTOR = "0x573ade81"
GWEI = 10**9
DAY = 86_400
NOON = 1_700_006_400


def call_data(amount: int) -> bytes:
    return bytes.fromhex(SELECTOR[2:]) + amount.to_bytes(32, "big")


@dataclass
class Bench:
    """A service, its clocks and short ways to speak to it."""

    state: Path
    key_file: Any
    now: float = NOON
    ticks: float = 0.0
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    @property
    def ledger(self) -> Path:
        """The file in which it remembers what it signed."""
        return self.state / LEDGER_FILE

    def restart(self) -> None:
        if hasattr(self, "service"):
            self.ask("shutdown")
        self.service = Service(self.state, now=lambda: self.now, monotonic=lambda: self.ticks)

    def ask(self, op: str, **fields: object) -> dict[str, Any]:
        """Through JSON and back, as over the pipe."""
        message = json.loads(json.dumps({"id": 1, "op": op, **fields}))
        return json.loads(json.dumps(self.service.handle(message)))

    def unlock(self, password: str | None = None) -> dict[str, Any]:
        chosen = self.key_file.password if password is None else password
        return self.ask("unlock", path=str(self.key_file.path), password=chosen)

    def policy(self, **changes: Any) -> SigningPolicy:
        policy = SigningPolicy(
            chain_id=31337,
            account=self.key_file.address,
            calls=(AllowedCall(POOL, SELECTOR, (WordRule(0, maximum=5_000),), USDC, 0),),
            permits=(AllowedPermit(USDC, POOL, 5_000),),
            daily_caps=((USDC, 8_000),),
            max_fee_per_gas=100 * GWEI,
            max_gas=1_000_000,
            max_fee_wei=50_000_000 * GWEI,
            max_daily_fee_wei=10**18,
            expires_at=NOON + 30 * DAY,
        )
        return replace(policy, **changes)

    def arm(self, **changes: Any) -> dict[str, Any]:
        return self.ask("set_policy", policy=protocol.policy_to_wire(self.policy(**changes)))

    def request(self, **changes: Any) -> TransactionRequest:
        nonce = changes.get("nonce", 0)
        request = TransactionRequest(
            intent_id=f"intent-{nonce}",
            chain_id=31337,
            account=self.key_file.address,
            nonce=0,
            to=POOL,
            value=0,
            data=call_data(1_000),
            gas=300_000,
            max_fee_per_gas=50 * GWEI,
            max_priority_fee_per_gas=GWEI,
        )
        return replace(request, **changes)

    def permit(self, **changes: Any) -> PermitRequest:
        separator = "0x" + domain_separator("USD Coin", "2", 31337, USDC).hex()
        request = PermitRequest(
            "intent-0", 31337, USDC, "USD Coin", "2", separator, self.key_file.address, POOL, 5_000, 3, NOON + 600
        )
        return replace(request, **changes)

    def sign(self, **changes: Any) -> dict[str, Any]:
        return self.ask("sign_transaction", request=protocol.transaction_to_wire(self.request(**changes)))

    def cancel(self, **changes: Any) -> dict[str, Any]:
        return self.sign(**{"to": self.key_file.address, "data": b"", "gas": 21_000, "intent_id": "c", **changes})


def refused(reply: dict[str, Any], words: str) -> None:
    assert reply["ok"] is False, reply
    assert reply["error"] == "refused", reply
    assert words in reply["reason"], reply
