"""Revert data and node errors in words, and which of them mean that a smaller request may succeed."""

from __future__ import annotations

import re

from tui.chain.hexes import Malformed, data
from tui.chain.rpc import RpcError
from tui.model.text import clean_text

_ERROR = bytes.fromhex("08c379a0")
_PANIC = bytes.fromhex("4e487b71")
_PANICS = {
    0x01: "assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "enum out of range",
    0x22: "bad storage encoding",
    0x31: "pop from an empty array",
    0x32: "index out of range",
    0x41: "too much memory",
    0x51: "call of an unset function",
}
_LONGEST_REASON = 160

_LIMIT = re.compile(
    r"out ?of ?gas|OOG|gas (?:limit|cap|required|uint64)|intrinsic gas|exceeds? (?:block )?gas|timed? ?out|timeout"
    r"|deadline|execution aborted|too (?:large|big)|response size|size exceeded|initcode|code ?size"
    r"|max(?:imum)? (?:code|size|response)|content length|payload|CreateContractSizeLimit|memory limit|step limit",
    re.IGNORECASE,
)
_UNKNOWN_BLOCK = re.compile(
    r"(?:header|block|resource)s? (?:is |was )?not found|unknown block|missing trie node|could not find block"
    r"|beyond (?:the )?head|cannot find block|no state available|not (?:currently )?canonical"
    r"|state .* (?:pruned|not available)|block .*(?:unknown|not found|does not exist|not available)",
    re.IGNORECASE,
)
_FUNDS = re.compile(r"insufficient (?:funds|balance)|not enough funds|lack of funds|OutOfFunds", re.IGNORECASE)
_REVERTED = 3


def revert_reason(raw: bytes) -> str:
    """Revert data in words: the text of `Error(string)`, the meaning of `Panic(uint256)`, else the custom error's
    selector and arguments in hex. Never raises.
    """
    if not raw:
        return "reverted without a reason"
    selector, rest = raw[:4], raw[4:]
    if selector == _ERROR and (text := abi_text(rest)) is not None:
        return clean_text(text, _LONGEST_REASON)
    if selector == _PANIC and len(rest) == 32:
        code = int.from_bytes(rest, "big")
        return f"panic 0x{code:02x} ({_PANICS.get(code, 'unknown')})"
    shown = raw.hex()
    return f"custom error 0x{shown[:72]}{'…' if len(shown) > 72 else ''}"


def abi_text(rest: bytes) -> str | None:
    """The one ABI-encoded string in `rest`, or None where there is none."""
    if len(rest) < 64:
        return None
    offset = int.from_bytes(rest[:32], "big")
    if offset > len(rest) - 32:
        return None
    length = int.from_bytes(rest[offset : offset + 32], "big")
    text = rest[offset + 32 : offset + 32 + length]
    return text.decode("utf-8", "replace") if len(text) == length else None


def revert_data(error: RpcError) -> bytes | None:
    """The revert data that came with a node's error, None where it brought none."""
    if error.data is None:
        return None
    text = error.data.removeprefix("Reverted ")
    try:
        return data(text)
    except Malformed:
        return None


def is_limit(error: RpcError) -> bool:
    """Whether the node stopped for gas, time or size, so that half of the request may go through."""
    return error.code != _REVERTED and _LIMIT.search(error.message) is not None


def is_unknown_block(error: RpcError) -> bool:
    """Whether the node does not have the block of a pinned request."""
    return error.code != _REVERTED and (error.code == -32001 or _UNKNOWN_BLOCK.search(error.message) is not None)


def lacks_funds(error: RpcError) -> bool:
    """Whether an account cannot pay what was asked of it."""
    return error.code == -38014 or _FUNDS.search(error.message) is not None
