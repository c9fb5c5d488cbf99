"""What is asked of the signer, what it answers, and the policy it checks by itself before every signature."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from tui.model.pinned import PinnedCode


@dataclass(frozen=True, slots=True)
class WordRule:
    """What the signer insists on for one 32-byte argument word (index counted after the selector).

    `equals` binds it to one value (an address as integer), `maximum` caps it in one call, `minimum` is the least it
    may be (a floor that the chain is asked to hold).
    """

    index: int
    equals: int | None = None
    maximum: int | None = None
    minimum: int | None = None


@dataclass(frozen=True, slots=True)
class AllowedCall:
    """One (contract, selector) the signer may sign, with rules on its argument words.

    `to` is lower-case hex, `selector` 0x-hex of four bytes. Where `spend_token` is set, the argument word
    `spend_word` is counted against that token's daily cap. `max_value` is the most wei that may go along. Where
    `data_hash` is set (keccak256, 0x-hex), the calldata is exactly that and nothing else.
    """

    to: str
    selector: str
    rules: tuple[WordRule, ...] = ()
    spend_token: str | None = None
    spend_word: int | None = None
    max_value: int = 0
    data_hash: str | None = None


class PermitKind(StrEnum):
    """What a signature outside of a transaction lets somebody do."""

    PERMIT = "permit"
    """Take a token (EIP-2612)."""
    DELEGATION = "delegation"
    """Borrow for the one who signs (DelegationWithSig of a variable debt token)."""


@dataclass(frozen=True, slots=True)
class AllowedPermit:
    """A permit or a delegation the signer may sign: at most `maximum` base units of `token` for `spender`.

    In a delegation the token is the variable debt token, the spender the one who may borrow.
    """

    token: str
    spender: str
    maximum: int
    kind: PermitKind = PermitKind.PERMIT


@dataclass(frozen=True, slots=True)
class SigningPolicy:
    """All that an unlocked signer may do for one account on one chain. Everything not listed is refused.

    Wei for money of gas; `daily_caps` maps a token's address to base units a day (UTC); `expires_at` unix seconds.
    `delegates`: the code that the account itself may be set to run; NO_CODE among them lets it be made a plain one.
    """

    chain_id: int
    account: str
    calls: tuple[AllowedCall, ...]
    permits: tuple[AllowedPermit, ...]
    daily_caps: tuple[tuple[str, int], ...]
    max_fee_per_gas: int
    max_gas: int
    max_fee_wei: int
    max_daily_fee_wei: int
    expires_at: int
    max_value: int = 0
    delegates: tuple[PinnedCode, ...] = ()


@dataclass(frozen=True, slots=True)
class TransactionRequest:
    """A type-2 transaction to sign. `data` raw bytes, fees in wei a unit of gas.

    With a `delegate` it is one of type 4 that sets the account's own code to it (EIP-7702) and does nothing else: sent
    to the account itself, without value or data. Its one authorization is the account's own, for `chain_id` and for
    the nonce after this one, so that neither can be asked for otherwise.
    """

    intent_id: str
    chain_id: int
    account: str
    nonce: int
    to: str
    value: int
    data: bytes
    gas: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    delegate: PinnedCode | None = None


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """The exact bytes to broadcast and their hash (0x-hex)."""

    raw: bytes
    hash: str


@dataclass(frozen=True, slots=True)
class PermitRequest:
    """A permit or a delegation to sign; `domain_separator` as the token itself answers, checked against the fields."""

    intent_id: str
    chain_id: int
    token: str
    name: str
    version: str
    domain_separator: str
    owner: str
    spender: str
    value: int
    nonce: int
    deadline: int
    kind: PermitKind = PermitKind.PERMIT


@dataclass(frozen=True, slots=True)
class PermitSignature:
    """An ECDSA signature in the three parts that permit functions take."""

    v: int
    r: int
    s: int


KILLED_LATE = "the kill switch came when the nonce had its meaning already"
"""How a signer's refusal begins where nothing was signed, but the nonce may not get another meaning any more."""
NEVER_SIGNED = "a no-op is signed only for a nonce that was signed before"
"""How a signer's refusal begins where a nonce has no meaning yet: then nothing under it exists anywhere."""


@dataclass(frozen=True, slots=True)
class DayUsed:
    """That a limit of the day (UTC) is used up in the signer: what it signed for today, what is asked for (together
    with what is asked before it), and what it signs for at the most, in base units of `token`, or of gas in wei where
    that is None.

    It counts signatures and not what became of them: it sees no chain, and whoever asks may lie about it.
    """

    token: str | None
    spent: int
    asked: int
    cap: int

    @property
    def text(self) -> str:
        """How the signer says it."""
        if self.token is None:
            return f"daily fee limit: {self.spent} wei used, {self.asked} asked, {self.cap} allowed"
        return f"daily limit of token {self.token}: {self.spent} spent, {self.asked} asked, {self.cap} allowed"


_DAY_USED = re.compile(
    r"daily (?:fee limit|limit of token (0x[0-9a-f]{40})): (\d{1,90})(?: wei used| spent), (\d{1,90}) asked, "
    r"(\d{1,90}) allowed",
    re.ASCII,
)


def day_used(reason: str) -> DayUsed | None:
    """What a signer's refusal says of a limit of the day; None where it is about anything else."""
    found = _DAY_USED.fullmatch(reason)
    return None if found is None else DayUsed(found[1], *(int(found[number]) for number in (2, 3, 4)))


class SignerRefused(Exception):
    """The signer would not sign; the text says which check refused."""


class SignerUnavailable(Exception):
    """The signer process is gone, locked or does not answer."""
