"""The lens from outside: the call that carries its code, and its flat answer cut into records.

Nothing is computed here. A count that does not fit, or a format that is not ours, is LensFault, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tui.model.calls import Call

LENS_ADDRESS = "0x7e70000000000000000000000000000000001e45"
"""Where the code stands for the length of a call. Nothing lives there: no key and no deployment is known for it."""
READ_SELECTOR = bytes.fromhex("2b2c0ed0")
"""read(address,address[],uint256)"""
MAX_ACCOUNTS = 200
SWEEP_PAIRS = 4_000
"""Balances that an account's bitmap does not name are looked for up to so many accounts x reserves in one call.

A pair costs some 6,000 gas: this keeps a call well under the 50 million that nodes allow.
"""
FORMAT = 1
_HEADER, _RESERVE, _ACCOUNT, _HOLDING, _CATEGORY = 13, 20, 11, 4, 13
_ADDRESS_MASK = 2**160 - 1

NO_DATA, NO_PRICE, NO_SOURCE, NO_UPDATE, NO_SUPPLY, NO_DEBT_SUPPLY, NO_DECIMALS, NO_SYMBOL = (1 << n for n in range(8))
NO_CONFIGURATION, NO_E_MODE, NO_ACCOUNT_DATA = 1, 2, 4
NO_CATEGORY, NO_CATEGORY_PRICE, NO_COLLATERAL_BITMAP, NO_BORROWABLE_BITMAP, NO_LTVZERO_BITMAP, NO_ISOLATED = (
    1 << n for n in range(6)
)


class LensFault(Exception):
    """The answer is not one of the lens; the text says what does not fit."""


@dataclass(frozen=True, slots=True)
class RawReserve:
    """One reserve as the chain told it; `flags` names what failed."""

    flags: int
    asset: str
    configuration: int
    liquidity_index: int
    liquidity_rate: int
    borrow_index: int
    borrow_rate: int
    updated_at: int
    id: int
    a_token: str
    stable_token: str
    variable_token: str
    accrued_to_treasury: int
    price: int
    source: str
    price_updated_at: int
    scaled_supply: int
    scaled_debt: int
    decimals: int
    symbol: bytes
    symbol_length: int


@dataclass(frozen=True, slots=True)
class RawHolding:
    """What one account has of one reserve (by its position in the list): scaled balances, stable debt grown."""

    reserve: int
    flags: int
    scaled_supply: int
    scaled_debt: int
    stable_debt: int


@dataclass(frozen=True, slots=True)
class RawAccount:
    """One account; `answer` is getUserAccountData: collateral, debt, available, threshold, LTV, health factor."""

    flags: int
    account: str
    configuration: int
    e_mode: int
    answer: tuple[int, ...]
    holdings: tuple[RawHolding, ...]


@dataclass(frozen=True, slots=True)
class RawCategory:
    """One e-mode category."""

    flags: int
    id: int
    ltv: int
    threshold: int
    bonus: int
    price_source: str
    price: int
    collateral_bitmap: int
    borrowable_bitmap: int
    ltvzero_bitmap: int
    isolated: bool
    label: bytes
    label_length: int


@dataclass(frozen=True, slots=True)
class RawReading:
    """One answer of the lens."""

    timestamp: int
    block_number: int
    pool: str
    oracle: str
    revision: int
    base_unit: int
    base_currency: int
    swept: bool
    flags: int
    reserves: tuple[RawReserve, ...]
    accounts: tuple[RawAccount, ...]
    categories: tuple[RawCategory, ...]


@cache
def lens_code() -> bytes:
    """The runtime code that goes with every read."""
    text = (Path(__file__).parent / "contracts" / "Lens.hex").read_text(encoding="ascii")
    return bytes.fromhex("".join(text.split()))


def address_of(word: int) -> str:
    """Lower-case hex of an address word."""
    return f"0x{word & _ADDRESS_MASK:040x}"


def read_call(provider: str, accounts: Sequence[str], sweep_pairs: int = SWEEP_PAIRS) -> Call:
    """One read of at most MAX_ACCOUNTS `accounts` in the market of a PoolAddressesProvider."""
    if len(accounts) > MAX_ACCOUNTS:
        raise ValueError(f"{len(accounts)} accounts in one read; the most is {MAX_ACCOUNTS}")
    words = [int(provider, 16), 96, sweep_pairs, len(accounts), *(int(account, 16) for account in accounts)]
    return Call(LENS_ADDRESS, READ_SELECTOR + b"".join(word.to_bytes(32, "big") for word in words), lens_code())


def decode_reading(data: bytes) -> RawReading:
    """The records of one answer. Raises LensFault."""
    if len(data) < 64 + 32 * _HEADER or len(data) % 32 or int.from_bytes(data[:32], "big") != 32:
        raise LensFault("the answer is too short")
    count = int.from_bytes(data[32:64], "big")
    if len(data) != 64 + 32 * count:
        raise LensFault("the answer has not the length that it states")
    # One big slice cut by a comprehension beats a decoder per word by far, and this runs at every block.
    from_bytes = int.from_bytes
    words = [from_bytes(data[at : at + 32], "big") for at in range(64, len(data), 32)]
    if words[0] != FORMAT:
        raise LensFault(f"the answer is of format {words[0]}")
    reserve_count, account_count, category_count = words[9], words[10], words[11]
    if reserve_count > 128 or account_count > MAX_ACCOUNTS or category_count > 255:
        raise LensFault("the counts in the answer cannot be right")
    try:
        at = _HEADER
        reserves = []
        for _ in range(reserve_count):
            reserves.append(_reserve(words, at))
            at += _RESERVE
        accounts = []
        for _ in range(account_count):
            account, at = _account(words, at, reserve_count)
            accounts.append(account)
        categories = []
        for _ in range(category_count):
            categories.append(_category(words, at))
            at += _CATEGORY
    except IndexError:
        raise LensFault("the answer ends in the middle of a record") from None
    if at != count:
        raise LensFault("the answer has words that belong to nothing")
    return RawReading(
        timestamp=words[1],
        block_number=words[2],
        pool=address_of(words[3]),
        oracle=address_of(words[4]),
        revision=words[5],
        base_unit=words[6],
        base_currency=words[7],
        swept=bool(words[8]),
        flags=words[12],
        reserves=tuple(reserves),
        accounts=tuple(accounts),
        categories=tuple(categories),
    )


def _reserve(words: list[int], at: int) -> RawReserve:
    (
        flags, asset, configuration, liquidity_index, liquidity_rate, borrow_index, borrow_rate, updated_and_id,
        a_token, stable, variable, accrued, price, source, price_updated_at, scaled_supply, scaled_debt, decimals,
        symbol, symbol_length,
    ) = _slice(words, at, _RESERVE)  # fmt: skip
    return RawReserve(
        flags, address_of(asset), configuration, liquidity_index, liquidity_rate, borrow_index, borrow_rate,
        updated_and_id & (2**64 - 1), updated_and_id >> 64, address_of(a_token), address_of(stable),
        address_of(variable), accrued, price, address_of(source), price_updated_at, scaled_supply, scaled_debt,
        decimals, symbol.to_bytes(32, "big"), symbol_length,
    )  # fmt: skip


def _account(words: list[int], at: int, reserve_count: int) -> tuple[RawAccount, int]:
    head = _slice(words, at, _ACCOUNT)
    at += _ACCOUNT
    count = head[10]
    if count > reserve_count:
        raise LensFault("an account holds more assets than there are")
    holdings = []
    for _ in range(count):
        where, supply, debt, stable = _slice(words, at, _HOLDING)
        reserve = where & (2**128 - 1)
        if reserve >= reserve_count:
            raise LensFault("an account holds an asset that is not listed")
        holdings.append(RawHolding(reserve, where >> 128, supply, debt, stable))
        at += _HOLDING
    account = RawAccount(head[0], address_of(head[1]), head[2], head[3], tuple(head[4:10]), tuple(holdings))
    return account, at


def _category(words: list[int], at: int) -> RawCategory:
    (
        flags, number, ltv, threshold, bonus, source, price, collateral, borrowable, ltvzero, isolated, label, length,
    ) = _slice(words, at, _CATEGORY)  # fmt: skip
    return RawCategory(
        flags, number, ltv, threshold, bonus, address_of(source), price, collateral, borrowable, ltvzero,
        bool(isolated), label.to_bytes(32, "big"), length,
    )  # fmt: skip


def _slice(words: list[int], at: int, count: int) -> list[int]:
    part = words[at : at + count]
    if len(part) != count:
        raise IndexError
    return part
