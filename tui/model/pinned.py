"""Code that an account may be set to run as its own (EIP-7702), pinned so that its name can stand for nothing else."""

from __future__ import annotations

from dataclasses import dataclass

DEPLOYER = "0x4e59b44847b379578588920ca78fbf26c0b4956c"
"""The deterministic deployment proxy: what it makes stands where salt and creation code say (CREATE2), on any chain."""

DELEGATION_PREFIX = bytes.fromhex("ef0100")
"""An account with this and an address as its code runs the code at that address (EIP-7702)."""
AUTHORIZATION_GAS = 25_000
"""What each authorization of a type-4 transaction adds to its intrinsic gas; half comes back for an account that is
already in the state, as every one that has ever sent is.

An account that sends the transaction itself signs its authorization for the transaction's nonce plus one, for this
chain alone (chain id 0 would hold on every chain, where other code may stand). It holds even if the call reverts,
and until it is taken away. EXTCODEHASH of the account is the hash of the 23 bytes, never of the code they point to.
"""

_ZERO_WORD = "0x" + "0" * 64


@dataclass(frozen=True, slots=True)
class PinnedCode:
    """Where code stands, what stands there, and why nothing else can: all in lower-case 0x-hex.

    `code_hash` is keccak256 of the code at `address` (what EXTCODEHASH of it answers). The address follows from `salt`
    and `creation_hash` (keccak256 of the creation code) through DEPLOYER; whoever signs works that out again.
    """

    address: str
    code_hash: str
    salt: str
    creation_hash: str

    @property
    def clears(self) -> bool:
        """Whether it stands for no code at all: an account that is set to it is a plain one again."""
        return self == NO_CODE

    @property
    def account_code(self) -> bytes:
        """The code of an account that is set to it, whole: 23 bytes, or none."""
        return b"" if self.clears else DELEGATION_PREFIX + bytes.fromhex(self.address[2:])


NO_CODE = PinnedCode(
    "0x" + "0" * 40, "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470", _ZERO_WORD, _ZERO_WORD
)
"""Setting an account to the zero address takes its code away; the hash is that of no code."""


def delegate_of(code: bytes) -> str | None:
    """Whom an account with this code is delegated to (lower-case hex); None for any other code, or none."""
    if len(code) != 23 or not code.startswith(DELEGATION_PREFIX):
        return None
    return "0x" + code[3:].hex()


def pinned_text(pinned: PinnedCode | None) -> str | None:
    """One line that says all of it, for the record; None for None."""
    if pinned is None:
        return None
    return " ".join((pinned.address, pinned.code_hash, pinned.salt, pinned.creation_hash))


def pinned_of(text: str | None) -> PinnedCode | None:
    """The code of a line of `pinned_text`. Raises ValueError for any other text."""
    if text is None:
        return None
    parts = text.split(" ")
    if len(parts) != 4:
        raise ValueError("that names no pinned code")
    return PinnedCode(*parts)
