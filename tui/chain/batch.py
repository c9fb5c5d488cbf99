"""Many calls in one eth_call: a small EVM program of ours that runs a packed list of calls and packs their answers.

It is placed at an address by state override, or sent as creation code where a node refuses overrides. It is written
in assembly because answers of unknown length need memory that grows with them, which Vyper's fixed buffers do not.

Packed call:   kind 1 byte | gas cap 4 (0: all) | target 20 | length 4 | calldata
Packed answer: outcome 1 byte | gas used 5 | gas left 5 | length 4 | return data
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tui.chain.evm import At, Label, Op, Value, assemble, op

BATCH_ADDRESS = "0x7472696d7461622d62617463680000000000b47c"
"""Where the program stands during a call with state override; nothing is deployed there."""
MAX_CREATION_CODE = 49_152
"""Bytes of creation code a node takes (EIP-3860)."""
MAX_VIEW_BYTES = 4096
"""The longest answer of a VIEW."""

ACTING = b"trimtab acts for its account".ljust(32, b"\0")
"""What comes before the packed calls in `acting_for`."""

_CALL_HEADER = 29
_ANSWER_HEADER = 15
_MAX_LENSES = 16


class Kind(IntEnum):
    """What a packed entry asks for. VALUE answers nothing: its target field is the wei that the next call carries.

    VIEW is a CALL of a contract that is nobody's friend: an answer longer than MAX_VIEW_BYTES counts as none, so that
    copying it cannot eat the gas of the calls after it. CODE answers the first 32 bytes of a target's code, zeros after
    its end: all of an account's delegation (EIP-7702), with the size that CODE_SIZE tells.
    """

    CALL = 0
    BALANCE = 1
    CODE_SIZE = 2
    LENS = 3
    VALUE = 4
    VIEW = 5
    CODE = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to ask. `gas_cap` 0 gives all there is."""

    target: str
    data: bytes = b""
    kind: Kind = Kind.CALL
    gas_cap: int = 0


class Outcome(IntEnum):
    """How an entry went. NO_CODE: the call succeeded only because nothing is deployed at its target."""

    FAILED = 0
    OK = 1
    NO_CODE = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one entry. Gas as the program measured it around the call."""

    outcome: Outcome
    gas_used: int
    gas_left: int
    data: bytes

    @property
    def starved(self) -> bool:
        """Whether the call failed because the whole batch ran out of gas, so that a smaller batch may succeed.

        A call may take 63/64 of what there is; one that fails without a word after taking nearly all was starved.
        """
        return self.outcome is Outcome.FAILED and not self.data and self.gas_left * 32 < self.gas_used


class BadBatchAnswer(ValueError):
    """The bytes are not what the program returns."""


# Memory: variables in words, then the addresses of lenses, then the packed calls, then the packed answers.
_IP, _END, _OUT, _WORD, _TO, _LENGTH, _VALUE, _SIZE, _BEFORE, _OK, _AFTER, _FITS = (32 * i for i in range(12))
_TABLE = 32 * 12
_IN = _TABLE + 32 * _MAX_LENSES


def _get(slot: int) -> Op:
    return op("MLOAD", slot)


def _set(slot: int, value: Value) -> Op:
    return op("MSTORE", slot, value)


def _add(*values: Value) -> Value:
    total = values[0]
    for value in values[1:]:
        total = op("ADD", total, value)
    return total


def _field(shift: int, bits: int) -> Op:
    """Bits of the current packed call's first word."""
    return op("AND", op("SHR", shift, _get(_WORD)), 2**bits - 1)


def _kind_is(kind: Kind) -> Op:
    return op("EQ", op("BYTE", 0, _get(_WORD)), int(kind))


def _returned() -> Op:
    """How many bytes of the return data are kept."""
    return op("MUL", op("RETURNDATASIZE"), _get(_FITS))


def _answer(outcome: Value, used: Value, left: Value, length: Value) -> list[Op]:
    """Write an answer's header at the end of the output; its data follows there."""
    packed = _add(op("SHL", 248, outcome), op("SHL", 208, used), op("SHL", 168, left), op("SHL", 136, length))
    return [op("MSTORE", _get(_OUT), packed), _set(_OUT, _add(_get(_OUT), _ANSWER_HEADER))]


def _word_answer(value: Value) -> list[Op]:
    return [
        *_answer(1, 0, op("GAS"), 32),
        op("MSTORE", _get(_OUT), value),
        _set(_OUT, _add(_get(_OUT), 32)),
        op("JUMP", At("loop")),
    ]


def _loop() -> list[Op | Label]:
    """Run the packed calls from IP to END, write answers from OUT, return them."""
    return [
        _set(_OUT, _get(_END)),
        Label("loop"),
        op("JUMPI", At("done"), op("ISZERO", op("LT", _get(_IP), _get(_END)))),
        _set(_WORD, op("MLOAD", _get(_IP))),
        _set(_TO, _field(56, 160)),
        _set(_LENGTH, _field(24, 32)),
        _set(_IP, _add(_get(_IP), _CALL_HEADER)),
        op("JUMPI", At("value"), _kind_is(Kind.VALUE)),
        op("JUMPI", At("balance"), _kind_is(Kind.BALANCE)),
        op("JUMPI", At("codesize"), _kind_is(Kind.CODE_SIZE)),
        op("JUMPI", At("code"), _kind_is(Kind.CODE)),
        op("JUMPI", At("call"), op("ISZERO", _kind_is(Kind.LENS))),
        _set(_TO, op("MLOAD", _add(_TABLE, op("MUL", 32, _get(_TO))))),
        Label("call"),
        # Asking for the size first also warms the target, as the target of a transaction is.
        _set(_SIZE, op("EXTCODESIZE", _get(_TO))),
        _set(_OK, _add(_field(216, 32), op("MUL", op("ISZERO", _field(216, 32)), op("GAS")))),
        _set(_BEFORE, op("GAS")),
        _set(_OK, op("CALL", _get(_OK), _get(_TO), _get(_VALUE), _get(_IP), _get(_LENGTH), 0, 0)),
        _set(_AFTER, op("GAS")),
        _set(
            _FITS,
            op("ISZERO", op("MUL", _kind_is(Kind.VIEW), op("LT", MAX_VIEW_BYTES, op("RETURNDATASIZE")))),
        ),
        _set(_SIZE, op("MUL", op("MUL", _get(_OK), _get(_FITS)), _add(1, op("ISZERO", _get(_SIZE))))),
        *_answer(_get(_SIZE), op("SUB", _get(_BEFORE), _get(_AFTER)), _get(_AFTER), _returned()),
        op("RETURNDATACOPY", _get(_OUT), 0, _returned()),
        _set(_OUT, _add(_get(_OUT), _returned())),
        _set(_IP, _add(_get(_IP), _get(_LENGTH))),
        _set(_VALUE, 0),
        op("JUMP", At("loop")),
        Label("balance"),
        *_word_answer(op("BALANCE", _get(_TO))),
        Label("codesize"),
        *_word_answer(op("EXTCODESIZE", _get(_TO))),
        Label("code"),
        op("EXTCODECOPY", _get(_TO), _VALUE, 0, 32),
        _set(_WORD, _get(_VALUE)),
        _set(_VALUE, 0),
        *_word_answer(_get(_WORD)),
        Label("value"),
        _set(_VALUE, _get(_TO)),
        op("JUMP", At("loop")),
        Label("done"),
        op("RETURN", _get(_END), op("SUB", _get(_OUT), _get(_END))),
    ]


def _runtime() -> bytes:
    """The program that takes packed calls as calldata. Plain ether without calldata is simply taken."""
    return assemble(
        [
            op("CALLDATACOPY", _IN, 0, op("CALLDATASIZE")),
            _set(_IP, _IN),
            _set(_END, _add(_IN, op("CALLDATASIZE"))),
            *_loop(),
        ]
    )


def acting_for(delegate: str) -> bytes:
    """The program as it stands at the address of an account that runs the code of `delegate` (EIP-7702): it runs where
    the account calls itself with ACTING before the packed calls. Whatever else the account is called with goes to the
    delegate's code, as it would.
    """
    carried, at = op("SUB", op("CALLDATASIZE"), 32), _IN
    return assemble(
        [
            op("JUMPI", At("delegate"), op("ISZERO", op("EQ", op("CALLER"), op("ADDRESS")))),
            op("JUMPI", At("delegate"), op("ISZERO", op("EQ", op("CALLDATALOAD", 0), int.from_bytes(ACTING, "big")))),
            op("CALLDATACOPY", at, 32, carried),
            _set(_IP, at),
            _set(_END, _add(at, carried)),
            *_loop(),
            Label("delegate"),
            op("CALLDATACOPY", 0, 0, op("CALLDATASIZE")),
            op(
                "JUMPI",
                At("went"),
                op("DELEGATECALL", op("GAS"), int(delegate, 16), 0, op("CALLDATASIZE"), 0, 0),
            ),
            op("RETURNDATACOPY", 0, 0, op("RETURNDATASIZE")),
            op("REVERT", 0, op("RETURNDATASIZE")),
            Label("went"),
            op("RETURNDATACOPY", 0, 0, op("RETURNDATASIZE")),
            op("RETURN", 0, op("RETURNDATASIZE")),
        ]
    )


def _creation() -> bytes:
    """The program as creation code. What follows it: count of lenses (1 byte), each as length (4) and creation code,
    then the packed calls. Entries of kind LENS name a lens by its place.
    """
    payload = op("SUB", op("CODESIZE"), At("end"))
    length = op("SHR", 224, op("MLOAD", _get(_IP)))
    return assemble(
        [
            op("CODECOPY", _IN, At("end"), payload),
            _set(_END, _add(_IN, payload)),
            _set(_LENGTH, op("BYTE", 0, op("MLOAD", _IN))),
            _set(_IP, _IN + 1),
            _set(_SIZE, _TABLE),
            Label("lens"),
            op("JUMPI", At("start"), op("ISZERO", _get(_LENGTH))),
            _set(_WORD, length),
            op("MSTORE", _get(_SIZE), op("CREATE", 0, _add(_get(_IP), 4), _get(_WORD))),
            _set(_IP, _add(_get(_IP), 4, _get(_WORD))),
            _set(_SIZE, _add(_get(_SIZE), 32)),
            _set(_LENGTH, op("SUB", _get(_LENGTH), 1)),
            op("JUMP", At("lens")),
            Label("start"),
            *_loop(),
        ]
    )


def deployer(runtime: bytes) -> bytes:
    """Creation code that deploys `runtime` as it is."""
    prefix = assemble([op("CODECOPY", 0, At("end"), len(runtime)), op("RETURN", 0, len(runtime))])
    return prefix + runtime


BATCH_CODE = _runtime()
_CREATION_CODE = _creation()


def pack(entries: Sequence[Entry]) -> bytes:
    """The packed calls."""
    return b"".join(
        b"".join(
            (
                entry.kind.to_bytes(1, "big"),
                entry.gas_cap.to_bytes(4, "big"),
                bytes.fromhex(entry.target[2:]),
                len(entry.data).to_bytes(4, "big"),
                entry.data,
            )
        )
        for entry in entries
    )


def with_value(wei: int) -> Entry:
    """The entry that makes the next call carry `wei`."""
    return Entry("0x" + wei.to_bytes(20, "big").hex(), kind=Kind.VALUE)


def pack_creation(entries: Sequence[Entry], codes: dict[str, bytes]) -> bytes:
    """Creation code that deploys `codes` (runtime by address), runs `entries` with calls to those addresses led to the
    new places, and returns the packed answers. Raises ValueError for more lenses than the program has places for.
    """
    if len(codes) > _MAX_LENSES:
        raise ValueError(f"at most {_MAX_LENSES} contracts of our own fit into one call")
    places = {address: index for index, address in enumerate(codes)}
    moved = [
        Entry("0x" + places[e.target].to_bytes(20, "big").hex(), e.data, Kind.LENS, e.gas_cap)
        if e.kind is Kind.CALL and e.target in places
        else e
        for e in entries
    ]
    lenses = [deployer(code) for code in codes.values()]
    carried = b"".join(len(lens).to_bytes(4, "big") + lens for lens in lenses)
    return _CREATION_CODE + len(lenses).to_bytes(1, "big") + carried + pack(moved)


def unpack(raw: bytes, count: int) -> list[Answer]:
    """The answers of `count` entries. Raises BadBatchAnswer for bytes that the program cannot have returned."""
    answers: list[Answer] = []
    at = 0
    for _ in range(count):
        data_at = at + _ANSWER_HEADER
        if data_at > len(raw):
            raise BadBatchAnswer("the answer of a batch was cut short")
        end = data_at + int.from_bytes(raw[at + 11 : data_at], "big")
        if end > len(raw) or raw[at] > Outcome.NO_CODE:
            raise BadBatchAnswer("the answer of a batch was cut short or is not ours")
        answers.append(
            Answer(
                Outcome(raw[at]),
                int.from_bytes(raw[at + 1 : at + 6], "big"),
                int.from_bytes(raw[at + 6 : at + 11], "big"),
                raw[data_at:end],
            )
        )
        at = end
    if at != len(raw):
        raise BadBatchAnswer("the answer of a batch has bytes left over")
    return answers
