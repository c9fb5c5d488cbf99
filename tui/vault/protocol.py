"""What parent and signer say to each other: length-prefixed JSON, read strictly and never beyond a limit.

Both sides use these readers, so neither trusts the other's shapes. Nothing here knows a key.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tui.model.pinned import PinnedCode
from tui.model.signing import (
    AllowedCall,
    AllowedPermit,
    PermitKind,
    PermitRequest,
    SigningPolicy,
    TransactionRequest,
    WordRule,
)
from tui.vault.bounded_json import loads

VERSION = 4
MAX_FRAME_BYTES = 256 * 1024
MAX_DATA_BYTES = 64 * 1024
MAX_LIST = 2048
LENGTH = struct.Struct(">I")

UINT256_MAX = (1 << 256) - 1
UINT64_MAX = (1 << 64) - 1

_T = TypeVar("_T")

_ADDRESS = re.compile(r"0x[0-9a-f]{40}\Z")
_SELECTOR = re.compile(r"0x[0-9a-f]{8}\Z")
_WORD = re.compile(r"0x[0-9a-f]{64}\Z")
_BYTES = re.compile(r"0x(?:[0-9a-f]{2})*\Z")


class ProtocolError(Exception):
    """A message that is not what it must be. The text names fields, never values."""


def encode_frame(message: Mapping[str, object]) -> bytes:
    """Four bytes of length (big-endian), then JSON. Raises `ProtocolError` above `MAX_FRAME_BYTES`."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError("the message is too large")
    return LENGTH.pack(len(body)) + body


def decode_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a frame. Raises `ProtocolError`."""
    try:
        message = loads(body)
    except ValueError:
        raise ProtocolError("the message is not JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("the message is not an object")
    return message


def frame_length(prefix: bytes) -> int:
    """How many bytes follow a prefix. Raises `ProtocolError` for zero or too many."""
    length = int(LENGTH.unpack(prefix)[0])
    if not 0 < length <= MAX_FRAME_BYTES:
        raise ProtocolError("the message has an impossible length")
    return length


class Fields:
    """Reads one JSON object field by field; `done()` refuses what was not asked for."""

    def __init__(self, source: object, what: str) -> None:
        if not isinstance(source, dict):
            raise ProtocolError(f"{what} is not an object")
        self._left: dict[str, Any] = dict(source)
        self._what = what

    def take(self, name: str) -> object:
        """A field that must be there."""
        try:
            return self._left.pop(name)
        except KeyError:
            raise ProtocolError(f"{self._what} lacks {name}") from None

    def whole(self, name: str, maximum: int = UINT256_MAX) -> int:
        """An integer in 0 .. maximum."""
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
            raise ProtocolError(f"{self._what}.{name} is not a whole number in its range")
        return value

    def optional_whole(self, name: str, maximum: int = UINT256_MAX) -> int | None:
        """An integer in 0 .. maximum, or null."""
        if self._left.get(name, 0) is None:
            del self._left[name]
            return None
        return self.whole(name, maximum)

    def text(self, name: str, limit: int) -> str:
        """A string of at most `limit` characters that can be written as UTF-8."""
        value = self.take(name)
        if not isinstance(value, str) or len(value) > limit:
            raise ProtocolError(f"{self._what}.{name} is not a text of at most {limit} characters")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ProtocolError(f"{self._what}.{name} is not UTF-8") from None
        return value

    def matching(self, name: str, pattern: re.Pattern[str], shape: str) -> str:
        """A string of a fixed shape."""
        value = self.take(name)
        if not isinstance(value, str) or not pattern.match(value):
            raise ProtocolError(f"{self._what}.{name} is not {shape}")
        return value

    def permit_kind(self, name: str) -> PermitKind:
        """What a signature is to let somebody do, by its own word."""
        value = self.take(name)
        if not isinstance(value, str) or value not in tuple(PermitKind):
            raise ProtocolError(f"{self._what}.{name} is no kind of signature")
        return PermitKind(value)

    def address(self, name: str) -> str:
        """Lower-case 0x hex of 20 bytes."""
        return self.matching(name, _ADDRESS, "a lower-case address")

    def optional_address(self, name: str) -> str | None:
        """An address or null."""
        if self._left.get(name, 0) is None:
            del self._left[name]
            return None
        return self.address(name)

    def optional_word(self, name: str) -> str | None:
        """0x hex of 32 bytes in lower case, or null."""
        if self._left.get(name, 0) is None:
            del self._left[name]
            return None
        return self.matching(name, _WORD, "32 bytes of hex")

    def data(self, name: str) -> bytes:
        """0x hex of at most `MAX_DATA_BYTES`."""
        value = self.take(name)
        if not isinstance(value, str) or len(value) > 2 + 2 * MAX_DATA_BYTES or not _BYTES.match(value):
            raise ProtocolError(f"{self._what}.{name} is not hex of at most {MAX_DATA_BYTES} bytes")
        return bytes.fromhex(value[2:])

    def each(self, name: str, read: Callable[[object], _T]) -> tuple[_T, ...]:
        """A list of at most `MAX_LIST` things."""
        value = self.take(name)
        if not isinstance(value, list) or len(value) > MAX_LIST:
            raise ProtocolError(f"{self._what}.{name} is not a list of at most {MAX_LIST}")
        return tuple(read(item) for item in value)

    def done(self) -> None:
        """Raises `ProtocolError` if anything is left."""
        if self._left:
            named = ", ".join(sorted(str(name)[:40] for name in self._left)[:4])
            raise ProtocolError(f"{self._what} has fields that are not known: {named}")


def transaction_to_wire(request: TransactionRequest) -> dict[str, object]:
    """A transaction request as JSON values; addresses in lower case."""
    return {
        "intent_id": request.intent_id,
        "chain_id": request.chain_id,
        "account": request.account.lower(),
        "nonce": request.nonce,
        "to": request.to.lower(),
        "value": request.value,
        "data": "0x" + request.data.hex(),
        "gas": request.gas,
        "max_fee_per_gas": request.max_fee_per_gas,
        "max_priority_fee_per_gas": request.max_priority_fee_per_gas,
        "delegate": None if request.delegate is None else _pinned_to_wire(request.delegate),
    }


def transaction_from_wire(source: object) -> TransactionRequest:
    """The transaction request of a message. Raises `ProtocolError`. Which type it is follows from its delegate: no type
    and no authorization can be asked for.
    """
    if isinstance(source, dict) and ("type" in source or "authorization_list" in source):
        raise ProtocolError("type and authorizations of a transaction are not asked for: they follow from its delegate")
    fields = Fields(source, "request")
    request = TransactionRequest(
        intent_id=fields.text("intent_id", 200),
        chain_id=fields.whole("chain_id", UINT64_MAX),
        account=fields.address("account"),
        nonce=fields.whole("nonce", UINT64_MAX - 1),
        to=fields.address("to"),
        value=fields.whole("value"),
        data=fields.data("data"),
        gas=fields.whole("gas", UINT64_MAX),
        max_fee_per_gas=fields.whole("max_fee_per_gas"),
        max_priority_fee_per_gas=fields.whole("max_priority_fee_per_gas"),
        delegate=_optional_pinned(fields.take("delegate")),
    )
    fields.done()
    return request


def permit_to_wire(request: PermitRequest) -> dict[str, object]:
    """A permit request as JSON values; addresses in lower case."""
    return {
        "intent_id": request.intent_id,
        "chain_id": request.chain_id,
        "token": request.token.lower(),
        "name": request.name,
        "version": request.version,
        "domain_separator": request.domain_separator.lower(),
        "owner": request.owner.lower(),
        "spender": request.spender.lower(),
        "value": request.value,
        "nonce": request.nonce,
        "deadline": request.deadline,
        "kind": request.kind.value,
    }


def permit_from_wire(source: object) -> PermitRequest:
    """The permit request of a message. Raises `ProtocolError`."""
    fields = Fields(source, "request")
    request = PermitRequest(
        intent_id=fields.text("intent_id", 200),
        chain_id=fields.whole("chain_id", UINT64_MAX),
        token=fields.address("token"),
        name=fields.text("name", 256),
        version=fields.text("version", 64),
        domain_separator=fields.matching("domain_separator", _WORD, "32 bytes of hex"),
        owner=fields.address("owner"),
        spender=fields.address("spender"),
        value=fields.whole("value"),
        nonce=fields.whole("nonce"),
        deadline=fields.whole("deadline"),
        kind=fields.permit_kind("kind"),
    )
    fields.done()
    return request


def policy_to_wire(policy: SigningPolicy) -> dict[str, object]:
    """A policy as JSON values; addresses in lower case."""
    return {
        "chain_id": policy.chain_id,
        "account": policy.account.lower(),
        "calls": [
            {
                "to": call.to.lower(),
                "selector": call.selector.lower(),
                "rules": [
                    {
                        "index": rule.index,
                        "equals": rule.equals,
                        "maximum": rule.maximum,
                        "minimum": rule.minimum,
                    }
                    for rule in call.rules
                ],
                "spend_token": None if call.spend_token is None else call.spend_token.lower(),
                "spend_word": call.spend_word,
                "max_value": call.max_value,
                "data_hash": None if call.data_hash is None else call.data_hash.lower(),
            }
            for call in policy.calls
        ],
        "permits": [
            {
                "token": permit.token.lower(),
                "spender": permit.spender.lower(),
                "maximum": permit.maximum,
                "kind": permit.kind.value,
            }
            for permit in policy.permits
        ],
        "daily_caps": [{"token": token.lower(), "cap": cap} for token, cap in policy.daily_caps],
        "max_fee_per_gas": policy.max_fee_per_gas,
        "max_gas": policy.max_gas,
        "max_fee_wei": policy.max_fee_wei,
        "max_daily_fee_wei": policy.max_daily_fee_wei,
        "expires_at": policy.expires_at,
        "max_value": policy.max_value,
        "delegates": [_pinned_to_wire(pinned) for pinned in policy.delegates],
    }


def policy_from_wire(source: object) -> SigningPolicy:
    """The policy of a message. Raises `ProtocolError` for wrong shapes and for rules that bind nothing."""
    fields = Fields(source, "policy")
    policy = SigningPolicy(
        chain_id=fields.whole("chain_id", UINT64_MAX),
        account=fields.address("account"),
        calls=fields.each("calls", _call_from_wire),
        permits=fields.each("permits", _allowed_permit_from_wire),
        daily_caps=fields.each("daily_caps", _cap_from_wire),
        max_fee_per_gas=fields.whole("max_fee_per_gas"),
        max_gas=fields.whole("max_gas", UINT64_MAX),
        max_fee_wei=fields.whole("max_fee_wei"),
        max_daily_fee_wei=fields.whole("max_daily_fee_wei"),
        expires_at=fields.whole("expires_at", UINT64_MAX),
        max_value=fields.whole("max_value"),
        delegates=fields.each("delegates", _pinned_from_wire),
    )
    fields.done()
    capped = [token for token, _ in policy.daily_caps]
    if len(set(capped)) != len(capped):
        raise ProtocolError("policy.daily_caps names a token twice")
    return policy


def _pinned_to_wire(pinned: PinnedCode) -> dict[str, str]:
    return {
        "address": pinned.address.lower(),
        "code_hash": pinned.code_hash.lower(),
        "salt": pinned.salt.lower(),
        "creation_hash": pinned.creation_hash.lower(),
    }


def _pinned_from_wire(source: object) -> PinnedCode:
    fields = Fields(source, "delegate")
    words = ("code_hash", "salt", "creation_hash")
    pinned = PinnedCode(fields.address("address"), *(fields.matching(one, _WORD, "32 bytes of hex") for one in words))
    fields.done()
    return pinned


def _optional_pinned(source: object) -> PinnedCode | None:
    return None if source is None else _pinned_from_wire(source)


def _call_from_wire(source: object) -> AllowedCall:
    fields = Fields(source, "call")
    call = AllowedCall(
        to=fields.address("to"),
        selector=fields.matching("selector", _SELECTOR, "a selector of four bytes"),
        rules=fields.each("rules", _rule_from_wire),
        spend_token=fields.optional_address("spend_token"),
        spend_word=fields.optional_whole("spend_word", MAX_DATA_BYTES // 32),
        max_value=fields.whole("max_value"),
        data_hash=fields.optional_word("data_hash"),
    )
    fields.done()
    if (call.spend_token is None) != (call.spend_word is None):
        raise ProtocolError("call.spend_token and call.spend_word go together")
    return call


def _rule_from_wire(source: object) -> WordRule:
    fields = Fields(source, "rule")
    rule = WordRule(
        index=fields.whole("index", MAX_DATA_BYTES // 32),
        equals=fields.optional_whole("equals"),
        maximum=fields.optional_whole("maximum"),
        minimum=fields.optional_whole("minimum"),
    )
    fields.done()
    if rule.equals is None and rule.maximum is None and rule.minimum is None:
        raise ProtocolError("a rule binds nothing")
    return rule


def _allowed_permit_from_wire(source: object) -> AllowedPermit:
    fields = Fields(source, "permit")
    permit = AllowedPermit(
        fields.address("token"), fields.address("spender"), fields.whole("maximum"), fields.permit_kind("kind")
    )
    fields.done()
    return permit


def _cap_from_wire(source: object) -> tuple[str, int]:
    fields = Fields(source, "cap")
    cap = (fields.address("token"), fields.whole("cap"))
    fields.done()
    return cap
