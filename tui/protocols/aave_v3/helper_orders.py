"""What else the helper does, from outside: switching a collateral, switching a debt, boosting; and signed credit.

Sans-IO, beside `helper`, which has the deleverage and where the helper stands. All four functions take the same words:
two tokens, amount, most of what is sold, floor of health, deadline, pools, path (three words); with a signature its
three words come last. They answer three words, and their events hold four (`outcome_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.model.calls import Log
from tui.model.units import UINT256_MAX
from tui.model.wallet import PermitFacts
from tui.protocols.aave_v3.helper import MAX_POOLS
from tui.protocols.erc20 import address_word, word

SWITCH_COLLATERAL = bytes.fromhex("9e536813")
"""switch_collateral(address,address,uint256,uint256,uint256,uint256,uint256,bytes32[3])"""
SWITCH_COLLATERAL_WITH_PERMIT = bytes.fromhex("b76b8a8a")
"""switch_collateral_with_permit(
address,address,uint256,uint256,uint256,uint256,uint256,bytes32[3],uint8,bytes32,bytes32)"""
SWITCH_DEBT = bytes.fromhex("e2a7d55d")
"""switch_debt(address,address,uint256,uint256,uint256,uint256,uint256,bytes32[3])"""
SWITCH_DEBT_WITH_SIGNATURE = bytes.fromhex("12de1fe5")
"""switch_debt_with_signature(
address,address,uint256,uint256,uint256,uint256,uint256,bytes32[3],uint8,bytes32,bytes32)"""
BOOST = bytes.fromhex("b062a9db")
"""boost(address,address,uint256,uint256,uint256,uint256,uint256,bytes32[3])"""
BOOST_WITH_SIGNATURE = bytes.fromhex("08f9422e")
"""boost_with_signature(
address,address,uint256,uint256,uint256,uint256,uint256,bytes32[3],uint8,bytes32,bytes32)"""

APPROVE_DELEGATION = bytes.fromhex("c04a8a10")
"""approveDelegation(address,uint256) of a variable debt token"""
BORROW_ALLOWANCE = bytes.fromhex("6bd76d24")
"""borrowAllowance(address,address) of a variable debt token: owner, then who may borrow"""

DELEGATION_TYPE = b"DelegationWithSig(address delegatee,uint256 value,uint256 nonce,uint256 deadline)"
"""EIP-712 type of a signed delegation. The delegator is not in it: it is whoever signed. Nonces are the debt token's
own (`nonces(address)`), its domain is made as a permit's (name, version, chain, address of the debt token)."""

DELEVERAGED = bytes.fromhex("c7c4b5247a777f35025aa5507b205cb1d9d4276111bea78d0c4890b27b990d35")
"""Deleveraged(address indexed owner,address indexed debt,address indexed collateral,
uint256 repaid,uint256 sold,uint256 premium,uint256 health_factor)"""
COLLATERAL_SWITCHED = bytes.fromhex("716d1dd0b6aedd40ef4e2eefb7fd2b46990c354261da5547dcf86c8abcf442aa")
"""CollateralSwitched(address indexed owner,address indexed received,address indexed given,
uint256 supplied,uint256 sold,uint256 premium,uint256 health_factor)"""
DEBT_SWITCHED = bytes.fromhex("5e52e2c2cd13e5751c59bec37091e191ea3786d36e8e1c823d1df8fcb1d369a5")
"""DebtSwitched(address indexed owner,address indexed old,address indexed new,
uint256 repaid,uint256 borrowed,uint256 premium,uint256 health_factor)"""
BOOSTED = bytes.fromhex("4c7792922dfa799e43afd19b87c75ff712ffa2f14d7e95e563a19404662c272f")
"""Boosted(address indexed owner,address indexed debt,address indexed collateral,
uint256 supplied,uint256 borrowed,uint256 premium,uint256 health_factor)"""

_PAYS = {DELEVERAGED: 3, COLLATERAL_SWITCHED: 3, DEBT_SWITCHED: 3, BOOSTED: 2}
"""The topic of each event that names the token which pays: what is sold, or borrowed."""
_HOP = 23


@dataclass(frozen=True, slots=True)
class SwitchCollateral:
    """Supply `amount` of `received`, paid for with at most `max_sold` of the collateral `sold`.

    Addresses in hex; amounts in base units; `min_health` in wad; `deadline` unix seconds. `path` as Uniswap packs it
    for an exact output: received, fee, ..., sold; an empty one is packed as no pools at all, which the helper refuses.
    The helper takes exactly `max_sold` of the aToken of `sold` and puts back what it did not sell.
    """

    received: str
    sold: str
    amount: int
    max_sold: int
    min_health: int
    deadline: int
    path: bytes


@dataclass(frozen=True, slots=True)
class SwitchDebt:
    """Repay `amount` of the debt `old` (ALL_OF_IT: whatever is owed), paid for with at most `max_borrowed` of `new`.

    As for SwitchCollateral; the path leads from old to new. Only what the swap takes is borrowed, and taken off the
    credit that the helper has been given.
    """

    old: str
    new: str
    amount: int
    max_borrowed: int
    min_health: int
    deadline: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Boost:
    """Supply `amount` of `collateral`, paid for by borrowing at most `max_borrowed` of `debt`.

    As for SwitchDebt, but the path leads from the collateral to the debt, against the order of the two arguments.
    """

    debt: str
    collateral: str
    amount: int
    max_borrowed: int
    min_health: int
    deadline: int
    path: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an event of the helper tells: base units repaid or supplied, sold or borrowed, the loan's premium (base
    units of what was lent), and the health factor left (wad; the largest number without debt).
    """

    used: int
    paid: int
    premium: int
    health_factor: int


def switch_collateral_data(order: SwitchCollateral) -> bytes:
    """Calldata of `switch_collateral`. Raises ValueError where the helper could not take the order."""
    return SWITCH_COLLATERAL + _switch_collateral_words(order)


def switch_collateral_with_permit_data(
    order: SwitchCollateral, v: int = 0, r: bytes = bytes(32), s: bytes = bytes(32)
) -> bytes:
    """Calldata of `switch_collateral_with_permit`; without a signature its three words, the last ones, are zero.

    The permit is one of the aToken of `sold`, for the helper, for exactly `max_sold`, with the order's deadline.
    Raises ValueError where the helper could not take the order.
    """
    return SWITCH_COLLATERAL_WITH_PERMIT + _switch_collateral_words(order) + _signature(v, r, s)


def switch_debt_data(order: SwitchDebt) -> bytes:
    """Calldata of `switch_debt`. Raises ValueError where the helper could not take the order."""
    return SWITCH_DEBT + _switch_debt_words(order)


def switch_debt_with_signature_data(order: SwitchDebt, v: int = 0, r: bytes = bytes(32), s: bytes = bytes(32)) -> bytes:
    """Calldata of `switch_debt_with_signature`; without a signature its three words, the last ones, are zero.

    The delegation (`delegation_digest`) is one of the variable debt token of `new`, for the helper, for exactly
    `max_borrowed`, with the order's deadline. Raises ValueError where the helper could not take the order.
    """
    return SWITCH_DEBT_WITH_SIGNATURE + _switch_debt_words(order) + _signature(v, r, s)


def boost_data(order: Boost) -> bytes:
    """Calldata of `boost`. Raises ValueError where the helper could not take the order."""
    return BOOST + _boost_words(order)


def boost_with_signature_data(order: Boost, v: int = 0, r: bytes = bytes(32), s: bytes = bytes(32)) -> bytes:
    """Calldata of `boost_with_signature`; without a signature its three words, the last ones, are zero.

    The delegation (`delegation_digest`) is one of the variable debt token of `debt`, for the helper, for exactly
    `max_borrowed`, with the order's deadline. Raises ValueError where the helper could not take the order.
    """
    return BOOST_WITH_SIGNATURE + _boost_words(order) + _signature(v, r, s)


def approve_delegation_data(delegatee: str, amount: int) -> bytes:
    """Calldata, for a variable debt token, that lets `delegatee` borrow `amount` base units for the sender; 0 ends it.

    It replaces what was delegated before. Raises ValueError for an amount that does not fit a word.
    """
    return APPROVE_DELEGATION + address_word(delegatee) + _number(amount, "an amount")


def borrow_allowance_data(owner: str, delegatee: str) -> bytes:
    """Calldata, for a variable debt token, that asks what `delegatee` may still borrow for `owner` (base units)."""
    return BORROW_ALLOWANCE + address_word(owner) + address_word(delegatee)


def delegation_digest(facts: PermitFacts, delegatee: str, value: int, deadline: int) -> bytes:
    """The 32 bytes that a delegation's signature is over (EIP-712); `facts` are the variable debt token's.

    `erc20.permit_calls` and `decode_permit` find them: a debt token answers the same questions as a permit's token.
    Raises ValueError for a number that does not fit a word, or facts without a separator of 32 bytes.
    """
    separator = bytes.fromhex(facts.domain_separator[2:])
    if len(separator) != 32:
        raise ValueError("a domain separator that is not 32 bytes")
    numbers = _number(value, "a value"), _number(facts.nonce, "a nonce"), _number(deadline, "a deadline")
    said = _keccak(_keccak(DELEGATION_TYPE) + address_word(delegatee) + b"".join(numbers))
    return _keccak(b"\x19\x01" + separator + said)


def outcome_of(data: bytes) -> Outcome:
    """What the data of one of the helper's four events say. Raises ValueError for anything but four words."""
    if len(data) != 128:
        raise ValueError(f"{len(data)} bytes are not the four words of the helper's events")
    words = [int.from_bytes(data[start : start + 32], "big") for start in range(0, 128, 32)]
    return Outcome(words[0], words[1], words[2], words[3])


def sold_in(logs: Sequence[Log], helper: str, owner: str, token: str) -> int | None:
    """Base units of `token` that `helper` says it sold (or borrowed) for `owner`; None where it says nothing of them.
    All three in hex. Only events of the helper's own address count, or of the owner's, which speaks by the code that it
    was seen to run: anybody can write the same words elsewhere.
    """
    whose, what = address_word(owner), address_word(token)
    paid = [
        outcome_of(log.data).paid
        for log in logs
        if log.address in (helper.lower(), owner.lower())
        and len(log.topics) == 4
        and (place := _PAYS.get(log.topics[0])) is not None
        and log.topics[1] == whose
        and log.topics[place] == what
        and len(log.data) == 128
    ]
    return sum(paid) if paid else None


def _switch_collateral_words(order: SwitchCollateral) -> bytes:
    tokens = (order.received, order.sold)
    _supplied(order.amount)
    return _words(tokens, tokens, order.amount, order.max_sold, "a sale", order)


def _switch_debt_words(order: SwitchDebt) -> bytes:
    tokens = (order.old, order.new)
    return _words(tokens, tokens, order.amount, order.max_borrowed, "a loan", order)


def _boost_words(order: Boost) -> bytes:
    _supplied(order.amount)
    ends = (order.collateral, order.debt)
    return _words((order.debt, order.collateral), ends, order.amount, order.max_borrowed, "a loan", order)


def _supplied(amount: int) -> None:
    if amount >= UINT256_MAX:
        raise ValueError("supplying needs an amount: the largest number stands for a debt alone")


def _words(
    tokens: tuple[str, str],
    ends: tuple[str, str],
    amount: int,
    most: int,
    what: str,
    order: SwitchCollateral | SwitchDebt | Boost,
) -> bytes:
    """Ten words: `tokens` as the function takes them, `ends` as the path has them."""
    first, last = (bytes.fromhex(one[2:]) for one in ends)
    if first == last:
        raise ValueError("a token cannot be swapped for itself")
    if most >= UINT256_MAX:
        raise ValueError(f"{what} without a limit")
    return b"".join(
        (
            address_word(tokens[0]),
            address_word(tokens[1]),
            _number(amount, "an amount"),
            _number(most, "a limit"),
            _number(order.min_health, "a floor"),
            _number(order.deadline, "a deadline"),
            word(_pools(order.path, first, last) if order.path else 0),
            order.path.ljust(96, b"\0"),
        )
    )


def _pools(path: bytes, first: bytes, last: bytes) -> int:
    pools, rest = divmod(len(path) - 20, _HOP)
    if rest or not 1 <= pools <= MAX_POOLS:
        raise ValueError(f"a path of {len(path)} bytes is not one through one to {MAX_POOLS} pools")
    if path[:20] != first or path[-20:] != last:
        raise ValueError("the path does not lead from what is lent to what is sold")
    return pools


def _signature(v: int, r: bytes, s: bytes) -> bytes:
    if len(r) > 32 or len(s) > 32:
        raise ValueError("half a signature of more than 32 bytes")
    return _number(v, "v") + r.rjust(32, b"\0") + s.rjust(32, b"\0")


def _number(value: int, what: str) -> bytes:
    if not 0 <= value <= UINT256_MAX:
        raise ValueError(f"{what} of {value} does not fit a word")
    return word(value)


def _keccak(data: bytes) -> bytes:
    from eth_hash.auto import keccak  # loads a native library: not at import time

    return bytes(keccak(data))
