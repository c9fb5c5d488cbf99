"""What the engine needs of a signer: policy in, signatures out; the key never comes along."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from tui.model.signing import (
    PermitRequest,
    PermitSignature,
    SignedTransaction,
    SigningPolicy,
    TransactionRequest,
)


class Signer(Protocol):
    """An unlocked key behind its own checks. All raise SignerRefused or SignerUnavailable."""

    @property
    def withheld(self) -> tuple[str, ...]:
        """What the signer left out of the last policy it was given, in words."""

    async def unlock(self, keystore: Path, password: str) -> str:
        """Decrypt a keystore file inside the signer; the account's lower-case address."""

    async def set_policy(self, policy: SigningPolicy) -> None:
        """Replace what the signer may do for the policy's account."""

    async def sign_transaction(self, request: TransactionRequest) -> SignedTransaction:
        """The signed bytes of exactly what was asked."""

    async def sign_permit(self, request: PermitRequest) -> PermitSignature:
        """A permit signature."""

    async def lock(self) -> None:
        """Forget key and policy."""
