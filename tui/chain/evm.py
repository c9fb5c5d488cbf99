"""A few lines of assembler: nested expressions and labels to EVM bytecode, for programs that Vyper cannot express.

`op("MSTORE", 0, op("ADD", 1, 2))` reads as the yellow paper names it; arguments are in stack order, first on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_OPCODES = {
    "STOP": 0x00, "ADD": 0x01, "MUL": 0x02, "SUB": 0x03, "LT": 0x10, "EQ": 0x14, "ISZERO": 0x15, "AND": 0x16,
    "BYTE": 0x1A, "SHL": 0x1B, "SHR": 0x1C, "ADDRESS": 0x30, "BALANCE": 0x31, "CALLER": 0x33, "CALLDATALOAD": 0x35,
    "CALLDATASIZE": 0x36, "CALLDATACOPY": 0x37, "CODESIZE": 0x38, "CODECOPY": 0x39, "EXTCODESIZE": 0x3B,
    "EXTCODECOPY": 0x3C, "RETURNDATASIZE": 0x3D, "RETURNDATACOPY": 0x3E,
    "POP": 0x50, "MLOAD": 0x51, "MSTORE": 0x52, "JUMP": 0x56, "JUMPI": 0x57, "GAS": 0x5A, "JUMPDEST": 0x5B,
    "CREATE": 0xF0, "CALL": 0xF1, "RETURN": 0xF3, "DELEGATECALL": 0xF4, "REVERT": 0xFD,
}  # fmt: skip
_PUSH1 = 0x60


@dataclass(frozen=True, slots=True)
class At:
    """The place of a label, as a value."""

    label: str


@dataclass(frozen=True, slots=True)
class Label:
    """A place that may be jumped to."""

    name: str


@dataclass(frozen=True, slots=True)
class Op:
    """One instruction with what it takes from the stack."""

    name: str
    arguments: tuple[Value, ...]


Value = Op | At | int


def op(name: str, *arguments: Value) -> Op:
    """`name(arguments...)`."""
    return Op(name, arguments)


def assemble(program: Sequence[Op | Label]) -> bytes:
    """The bytecode of `program`. Every statement must leave the stack as it found it. Raises KeyError for a label or
    an opcode that does not exist.
    """
    code = bytearray()
    places: dict[str, int] = {}
    uses: list[tuple[int, str]] = []

    def emit(value: Value) -> None:
        if isinstance(value, int):
            raw = value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big")
            code.append(_PUSH1 + len(raw) - 1)
            code.extend(raw)
        elif isinstance(value, At):
            uses.append((len(code) + 1, value.label))
            code.extend((_PUSH1 + 1, 0, 0))
        else:
            for argument in reversed(value.arguments):
                emit(argument)
            code.append(_OPCODES[value.name])

    for statement in program:
        if isinstance(statement, Label):
            places[statement.name] = len(code)
            code.append(_OPCODES["JUMPDEST"])
        else:
            emit(statement)
    for position, label in uses:
        code[position : position + 2] = len(code).to_bytes(2, "big") if label == "end" else places[label].to_bytes(2)
    return bytes(code)
