"""What code stands at an address, asked by a program of a few bytes, placed for the length of a call. Sans-IO."""

from __future__ import annotations

from tui.model.calls import Call, CallResult
from tui.model.pinned import PinnedCode
from tui.protocols.erc20 import address_word

CODE_READER = bytes.fromhex("600035803b8060006000843c6000f3")
"""Answers with the code at the address in the first argument word: EXTCODESIZE, EXTCODECOPY, RETURN."""
CODE_READER_ADDRESS = "0x7e7000000000000000000000000000000000c0de"
"""Where it stands for the length of a call. Nothing lives there: no key and no deployment is known for it."""
HASH_READER = bytes.fromhex("6000353f60005260206000f3")
"""Answers with the hash of that code: EXTCODEHASH, RETURN."""
HASH_READER_ADDRESS = "0x7e7000000000000000000000000000000000c0df"


def code_call(address: str) -> Call:
    """Reads the code at an address; the answer is the code itself, empty where there is none."""
    return Call(CODE_READER_ADDRESS, address_word(address), CODE_READER)


def hash_call(address: str) -> Call:
    """Reads the hash of the code at an address; of a delegated account's own 23 bytes, not of its delegate's."""
    return Call(HASH_READER_ADDRESS, address_word(address), HASH_READER)


def stands(pinned: PinnedCode, answer: CallResult) -> bool | None:
    """Whether the very code stands where it must, by the answer of `hash_call`; None where nobody tells."""
    if answer.data is None or len(answer.data) != 32:
        return None
    return "0x" + answer.data.hex() == pinned.code_hash
