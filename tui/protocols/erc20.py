"""ERC-20 tokens from outside: calldata, and answers decoded without trust. EIP-2612 permits where a token has them.

Tokens are not ours: every decoder takes whatever bytes came and answers None where they mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from tui.model.calls import Call, CallResult
from tui.model.text import clean_text
from tui.model.wallet import PermitFacts

APPROVE = bytes.fromhex("095ea7b3")
"""approve(address,uint256)"""
BALANCE_OF = bytes.fromhex("70a08231")
ALLOWANCE = bytes.fromhex("dd62ed3e")
NAME = bytes.fromhex("06fdde03")
SYMBOL = bytes.fromhex("95d89b41")
DECIMALS = bytes.fromhex("313ce567")
NONCES = bytes.fromhex("7ecebe00")
VERSION = bytes.fromhex("54fd4d50")
DOMAIN_SEPARATOR = bytes.fromhex("3644e515")
PERMIT_TYPEHASH = bytes.fromhex("30adf81f")

PERMIT_TYPE = b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
DOMAIN_TYPE = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
MAX_DECIMALS = 77
"""10 ** 77 is the largest power of ten in a word."""
_DEFAULT_VERSION = "1"


def word(value: int) -> bytes:
    """One 32-byte big-endian argument word."""
    return value.to_bytes(32, "big")


def address_word(address: str) -> bytes:
    """An address as an argument word."""
    return word(int(address, 16))


def balance_of(token: str, account: str) -> Call:
    """Reads an account's balance; decode with `decode_uint`."""
    return Call(token, BALANCE_OF + address_word(account))


def allowance(token: str, owner: str, spender: str) -> Call:
    """Reads what `spender` may take of `owner`; decode with `decode_uint`."""
    return Call(token, ALLOWANCE + address_word(owner) + address_word(spender))


def symbol(token: str) -> Call:
    """Reads a token's symbol; decode with `decode_text`."""
    return Call(token, SYMBOL)


def decimals(token: str) -> Call:
    """Reads a token's decimals; decode with `decode_decimals`."""
    return Call(token, DECIMALS)


def approve_data(spender: str, amount: int) -> bytes:
    """Calldata of `approve`, amount in base units."""
    return APPROVE + address_word(spender) + word(amount)


def permit_calls(token: str, owner: str) -> tuple[Call, ...]:
    """The reads that tell whether and how `owner` can sign a permit for `token`; decode with `decode_permit`."""
    return (
        Call(token, NAME),
        Call(token, VERSION),
        Call(token, NONCES + address_word(owner)),
        Call(token, DOMAIN_SEPARATOR),
        Call(token, PERMIT_TYPEHASH),
    )


def decode_uint(data: bytes | None) -> int | None:
    """An answer of exactly one word; None for anything else (an account without code answers with nothing)."""
    return int.from_bytes(data, "big") if data is not None and len(data) == 32 else None


def decode_decimals(data: bytes | None) -> int | None:
    """Decimals that can be a power of ten; None for anything else."""
    value = decode_uint(data)
    return value if value is not None and value <= MAX_DECIMALS else None


def decode_text(data: bytes | None) -> str | None:
    """A symbol or name, cleaned for display: an ABI string, or bytes32 as early tokens answer. None: neither."""
    raw = _raw_text(data)
    return None if raw is None else clean_text(raw.decode("utf-8", "replace"))


def decode_permit(results: Sequence[CallResult], token: str, chain_id: int) -> PermitFacts | None:
    """What signing a permit needs, from the answers of `permit_calls`; None where the token has none to trust.

    Tokens lie about permits in many ways, so the domain separator that follows from name, version, chain and address
    must be the very one that the token answers, and a typehash, where the token shows it, must be EIP-2612's (DAI
    has another kind). Without a `version` answer the customary "1" is tried.
    """
    if len(results) != 5:
        return None
    name, version, nonce, separator, typehash = (result.data for result in results)
    raw_name = _raw_text(name)
    raw_version = _raw_text(version) if version is not None else None
    next_nonce = decode_uint(nonce)
    if raw_name is None or next_nonce is None or separator is None or len(separator) != 32:
        return None
    if typehash is not None and len(typehash) == 32 and typehash != _keccak(PERMIT_TYPE):
        return None
    for candidate in dict.fromkeys((raw_version, _DEFAULT_VERSION.encode())):
        if candidate is not None and domain_separator(raw_name, candidate, chain_id, token) == separator:
            try:
                texts = raw_name.decode(), candidate.decode()
            except UnicodeDecodeError:
                return None
            return PermitFacts(*texts, "0x" + separator.hex(), next_nonce)
    return None


def domain_separator(name: bytes, version: bytes, chain_id: int, token: str) -> bytes:
    """The EIP-712 domain separator of a token (EIP-2612)."""
    return _keccak(
        _keccak(DOMAIN_TYPE) + _keccak(name) + _keccak(version) + word(chain_id) + address_word(token),
    )


def _raw_text(data: bytes | None) -> bytes | None:
    if data is None:
        return None
    if len(data) == 32:
        return data.rstrip(b"\0") or None
    if len(data) < 64 or int.from_bytes(data[:32], "big") != 32:
        return None
    length = int.from_bytes(data[32:64], "big")
    return data[64 : 64 + length] if 0 < length <= len(data) - 64 else None


def _keccak(data: bytes) -> bytes:
    from eth_hash.auto import keccak  # loads a native library: not at import time

    return bytes(keccak(data))
