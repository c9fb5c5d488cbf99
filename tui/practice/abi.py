"""Contract ABIs as plain data: calldata out, results in, libraries linked, created addresses foretold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from eth_abi.abi import decode as abi_decode
from eth_abi.abi import encode as abi_encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

_HEX = re.compile(r"(?:0x)?([0-9a-fA-F]*)")


@dataclass(frozen=True, slots=True)
class Code:
    """Deployment bytecode in hex without 0x, its constructor's argument types and the library slots in it.

    ``links`` holds (library name, byte offset) of every 20-byte slot.
    """

    bytecode: str
    constructor: tuple[str, ...]
    links: tuple[tuple[str, int], ...]

    def init_code(self, args: tuple[object, ...], libraries: Mapping[str, str]) -> str:
        """0x-hex deployment data: linked bytecode followed by the encoded constructor arguments."""
        code = self.bytecode
        for name, offset in self.links:
            code = code[: 2 * offset] + libraries[name][2:].lower() + code[2 * offset + 40 :]
        matched = _HEX.fullmatch(code)
        if matched is None:
            raise ValueError("bytecode has an unlinked library")
        return "0x" + code + abi_encode(list(self.constructor), list(args)).hex()


@cache
def load_code(path: Path) -> Code:
    """Read a compiler artifact (Foundry's, Hardhat's and Truffle's layouts are understood)."""
    artifact = orjson.loads(path.read_bytes())
    bytecode: Any = artifact["bytecode"]
    references: Any = artifact.get("linkReferences") or {}
    if isinstance(bytecode, dict):
        references = bytecode.get("linkReferences") or {}
        bytecode = bytecode["object"]
    links = [
        (name, int(spot["start"]))
        for libraries in references.values()
        for name, spots in libraries.items()
        for spot in spots
    ]
    inputs: list[Any] = next((entry["inputs"] for entry in artifact["abi"] if entry["type"] == "constructor"), [])
    return Code(bytecode.removeprefix("0x"), tuple(_type(entry) for entry in inputs), tuple(links))


def _type(entry: Mapping[str, Any]) -> str:
    kind: str = entry["type"]
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(_type(component) for component in entry["components"]) + ")" + kind[len("tuple") :]


@cache
def _selector(signature: str) -> str:
    return keccak(text=signature)[:4].hex()


@cache
def _arguments(signature: str) -> tuple[str, ...]:
    inner = signature[signature.index("(") + 1 : -1]
    types: list[str] = []
    depth, start = 0, 0
    for index, char in enumerate(inner):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            types.append(inner[start:index])
            start = index + 1
    if inner:
        types.append(inner[start:])
    return tuple(types)


def calldata(signature: str, *args: object) -> str:
    """0x-hex calldata of ``signature``, e.g. ``calldata("transfer(address,uint256)", to, 1)``."""
    return "0x" + _selector(signature) + abi_encode(list(_arguments(signature)), list(args)).hex()


def decode_words(types: list[str], result: str) -> tuple[Any, ...]:
    """Decode an ``eth_call`` result; addresses come back checksummed."""
    values = abi_decode(types, bytes.fromhex(result.removeprefix("0x")))
    return tuple(
        to_checksum_address(value) if kind == "address" else value for kind, value in zip(types, values, strict=True)
    )


def created_address(creator: str, nonce: int) -> str:
    """Checksummed address of the contract that ``creator`` makes by CREATE at ``nonce``."""
    encoded_nonce = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    if nonce == 0 or nonce > 0x7F:
        encoded_nonce = bytes([0x80 + len(encoded_nonce)]) + encoded_nonce
    payload = b"\x94" + bytes.fromhex(creator[2:]) + encoded_nonce
    return to_checksum_address(keccak(bytes([0xC0 + len(payload)]) + payload)[12:])
