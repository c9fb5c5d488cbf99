"""What an account swapped by itself, by the events of a transaction: its own, the token's and the pool's only."""

from __future__ import annotations

from eth_abi import encode
from eth_utils import keccak

from tui.model.calls import Log
from tui.protocols.aave_v3.own_swaps import moved_in, repaid_in, swapped_in

ME, PAYER, POOL, TOKEN, VENUE = ("0x" + byte * 20 for byte in ("a1", "b2", "c3", "d4", "e5"))
SUPPLIED = keccak(text="Supply(address,address,address,uint256,uint16)")
REPAID = keccak(text="Repay(address,address,address,uint256,bool)")
MOVED = keccak(text="Transfer(address,address,uint256)")


def topic(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])


def transfer(amount: int, sender: str, to: str, token: str = TOKEN) -> Log:
    return Log(token, (MOVED, topic(sender), topic(to)), encode(["uint256"], [amount]))


def supply(amount: int, user: str, by: str = POOL) -> Log:
    data = encode(["address", "uint256"], [user, amount])
    return Log(by, (SUPPLIED, topic(TOKEN), topic(ME), bytes(32)), data)


def repayment(amount: int, repayer: str, by: str = POOL) -> Log:
    return Log(by, (REPAID, topic(TOKEN), topic(ME), topic(repayer)), encode(["uint256", "bool"], [amount, False]))


def test_what_goes_to_an_exchange_is_what_was_swapped_by_whoever_sent_it() -> None:
    logs = [transfer(70, PAYER, VENUE)]
    assert swapped_in(logs, POOL, PAYER, TOKEN) == 70
    assert swapped_in(logs, POOL, ME, TOKEN) is None
    assert swapped_in([transfer(70, PAYER, VENUE, VENUE)], POOL, PAYER, TOKEN) is None, "another token"


def test_what_the_pool_took_of_the_account_was_not_swapped() -> None:
    assert swapped_in([transfer(70, PAYER, VENUE), supply(70, PAYER)], POOL, PAYER, TOKEN) is None
    assert swapped_in([transfer(70, PAYER, VENUE), repayment(70, PAYER)], POOL, PAYER, TOKEN) is None
    assert swapped_in([transfer(70, PAYER, VENUE), repayment(25, PAYER)], POOL, PAYER, TOKEN) == 45
    assert swapped_in([transfer(70, PAYER, VENUE), supply(70, PAYER, VENUE)], POOL, PAYER, TOKEN) == 70, "not the pool"


def test_what_another_account_supplied_or_repaid_beside_it_takes_nothing_away() -> None:
    others = [transfer(30, PAYER, POOL), supply(30, PAYER), transfer(5, PAYER, POOL), repayment(5, PAYER)]
    assert swapped_in([transfer(70, ME, VENUE), *others], POOL, ME, TOKEN) == 70
    assert swapped_in([transfer(70, ME, VENUE), *others], POOL, PAYER, TOKEN) is None
    assert moved_in([transfer(70, ME, VENUE), *others, transfer(1, VENUE, ME)], ME, TOKEN) == -69


def test_what_was_repaid_of_a_debt_is_what_the_pool_says_whoever_paid() -> None:
    logs = [repayment(25, PAYER), repayment(17, ME), repayment(1_000, ME, by=VENUE), transfer(9, ME, POOL)]
    assert repaid_in(logs, POOL, ME, TOKEN) == 42
    assert repaid_in(logs, POOL, PAYER, TOKEN) == 0, "another one's debt"
    assert repaid_in(logs, POOL, ME, VENUE) == 0, "another debt"
