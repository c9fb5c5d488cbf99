"""What the engine needs of a signer: policy in, signatures out; the key never comes along."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tui.model.signing import (
    PermitRequest,
    PermitSignature,
    SignedTransaction,
    SigningPolicy,
    TransactionRequest,
)


class Signatures(Protocol):
    """Whoever signs what is asked. All raise SignerRefused or SignerUnavailable."""

    async def judge(self, requests: Sequence[TransactionRequest]) -> None:
        """Raise what signing these, one after another, would raise; nothing is signed, and no nonce gets a meaning."""

    async def sign_transaction(self, request: TransactionRequest) -> SignedTransaction:
        """The signed bytes of exactly what was asked."""

    async def sign_permit(self, request: PermitRequest) -> PermitSignature:
        """A permit signature."""


class Signer(Signatures, Protocol):
    """Unlocked keys behind their own checks, each account with a policy of its own. All raise SignerRefused or
    SignerUnavailable.
    """

    @property
    def fault(self) -> str | None:
        """Why no signature can be had now, None where nothing is known against it. Never waits."""

    async def look(self) -> None:
        """Ask whether it still answers; `fault` tells. Raises nothing."""

    @property
    def withheld(self) -> tuple[str, ...]:
        """What the signer left out of the policies that it was given, in words."""

    async def unlock(self, keystore: Path, password: str) -> str:
        """Decrypt a keystore file inside the signer; the account's lower-case address."""

    async def set_policy(self, policy: SigningPolicy) -> None:
        """Replace what the signer may do for the policy's account."""

    async def lock(self, account: str | None = None) -> None:
        """Forget key and policies of an account (lower-case hex), or of all."""
