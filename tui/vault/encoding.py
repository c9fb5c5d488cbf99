"""The bytes that are signed: RLP and typed transactions (EIP-2718, EIP-1559, EIP-7702), permit and delegation digests
(EIP-712).

Written out here so that the parent can check, without the signing library, that it got exactly what it asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import coincurve
from eth_hash.auto import keccak

from tui.model.signing import PermitKind, PermitRequest, TransactionRequest

SECP256K1_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Signatures with a larger s are refused by the chain (EIP-2)."""

_DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_PERMIT_TYPE = keccak(b"Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")
_DELEGATION_TYPE = keccak(b"DelegationWithSig(address delegatee,uint256 value,uint256 nonce,uint256 deadline)")


def rlp_encode(item: bytes | int | Sequence[object]) -> bytes:
    """Recursive length prefix of bytes, of a non-negative integer (big-endian, no leading zero), or of a list."""
    if isinstance(item, int):
        item = item.to_bytes((item.bit_length() + 7) // 8, "big")
    if isinstance(item, bytes):
        return item if len(item) == 1 and item[0] < 0x80 else _with_length(0x80, item)
    return _with_length(0xC0, b"".join(rlp_encode(part) for part in item))  # type: ignore[arg-type]


def _with_length(offset: int, body: bytes) -> bytes:
    if len(body) < 56:
        return bytes([offset + len(body)]) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes([offset + 55 + len(length)]) + length + body


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature as typed transactions carry it."""

    y_parity: int
    r: int
    s: int


def authorization_digest(request: TransactionRequest) -> bytes:
    """The 32 bytes that the authorization of a type-4 request is signed over (EIP-7702): this chain, the code, and the
    nonce that the account has once the transaction itself has used its own.
    """
    return keccak(b"\x05" + rlp_encode(_authorization(request)))


def _authorization(request: TransactionRequest) -> list[object]:
    assert request.delegate is not None
    return [request.chain_id, bytes.fromhex(request.delegate.address[2:]), request.nonce + 1]


def _fields(request: TransactionRequest, authorization: Signed | None) -> list[object]:
    assert (request.delegate is None) == (authorization is None), "an authorization goes with a delegate"
    given: list[object] = []
    if authorization is not None:
        given = [[[*_authorization(request), authorization.y_parity, authorization.r, authorization.s]]]
    return [
        request.chain_id,
        request.nonce,
        request.max_priority_fee_per_gas,
        request.max_fee_per_gas,
        request.gas,
        bytes.fromhex(request.to[2:]),
        request.value,
        request.data,
        [],
        *given,
    ]


def _type_of(request: TransactionRequest) -> bytes:
    return b"\x02" if request.delegate is None else b"\x04"


def transaction_digest(request: TransactionRequest, authorization: Signed | None = None) -> bytes:
    """The 32 bytes that the signature of a type-2 (EIP-1559) or type-4 transaction (EIP-7702) is over."""
    return keccak(_type_of(request) + rlp_encode(_fields(request, authorization)))


def transaction_bytes(
    request: TransactionRequest, y_parity: int, r: int, s: int, authorization: Signed | None = None
) -> bytes:
    """The raw transaction of a request, its authorization where it has one, and its signature."""
    return _type_of(request) + rlp_encode([*_fields(request, authorization), y_parity, r, s])


def transaction_meaning(request: TransactionRequest) -> str:
    """A hash (0x hex) of all that a request means, so of everything but gas and fees."""
    meant: list[object] = [request.chain_id, bytes.fromhex(request.account[2:]), request.nonce]
    meant += [bytes.fromhex(request.to[2:]), request.value, request.data]
    if request.delegate is not None:
        meant.append([_authorization(request)])
    return "0x" + keccak(rlp_encode(meant)).hex()


def domain_separator(name: str, version: str, chain_id: int, contract: str) -> bytes:
    """EIP-712 domain separator of a token with the four usual domain fields."""
    return keccak(
        _DOMAIN_TYPE
        + keccak(name.encode())
        + keccak(version.encode())
        + chain_id.to_bytes(32, "big")
        + bytes.fromhex(contract[2:]).rjust(32, b"\0")
    )


def permit_digest(request: PermitRequest) -> bytes:
    """The 32 bytes that the signature of a permit (EIP-2612) or of a delegation (Aave's debt tokens) is over, from the
    request's fields alone. A delegation does not name its owner: whoever signed it is.
    """
    separator = domain_separator(request.name, request.version, request.chain_id, request.token)
    owner = bytes.fromhex(request.owner[2:]).rjust(32, b"\0")
    said = (
        bytes.fromhex(request.spender[2:]).rjust(32, b"\0")
        + request.value.to_bytes(32, "big")
        + request.nonce.to_bytes(32, "big")
        + request.deadline.to_bytes(32, "big")
    )
    delegates = request.kind is PermitKind.DELEGATION
    structure = keccak(_DELEGATION_TYPE + said if delegates else _PERMIT_TYPE + owner + said)
    return keccak(b"\x19\x01" + separator + structure)


def recover(digest: bytes, y_parity: int, r: int, s: int) -> str | None:
    """The account (lower-case 0x hex) whose key made a signature over `digest`; None if it is none."""
    if y_parity not in (0, 1) or r < 1 or not 1 <= s <= SECP256K1_HALF_ORDER or r.bit_length() > 256:
        return None
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([y_parity])
    try:
        public = coincurve.PublicKey.from_signature_and_message(signature, digest, hasher=None)
    except Exception:  # noqa: BLE001 - the library raises bare Exception for a signature that recovers to no point
        return None
    return "0x" + keccak(public.format(compressed=False)[1:])[-20:].hex()
