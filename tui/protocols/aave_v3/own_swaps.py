"""What an account does by itself, without a helper: withdraw, let an exchange take exactly what is sold, swap.

Every transaction goes out by its own nonce: what a later one needs, the earlier ones have left it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tui.model.calls import Log
from tui.model.plan import Action, PlannedCall, Sale, SwapCall
from tui.model.signing import WordRule
from tui.model.wallet import TokenHolding, Wallet
from tui.protocols.aave_v3.calls import Taking, amount_text, approvals, standing, wrap_call
from tui.protocols.aave_v3.state import Reserve
from tui.protocols.base import ActionImpossible
from tui.protocols.erc20 import address_word, word

TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")
"""Transfer(address indexed from, address indexed to, uint256 amount) of a token."""
WITHDRAW = bytes.fromhex("69328dec")
"""withdraw(address,uint256,address)"""
SUPPLY = bytes.fromhex("2b627736bca15cd5381dcf80b0bf11fd197d01a037c52b927a881a10fb73ba61")
"""Supply(address indexed reserve, address user, address indexed onBehalfOf, uint256 amount, uint16 indexed code)."""
REPAY = bytes.fromhex("a534c8dbe71f871f9f3530e97a74601fea17b426cae02e1c5aee42c96c784051")
"""Repay(address indexed reserve, address indexed user, address indexed repayer, uint256 amount, bool useATokens)."""


def swap_calls(action: Action, sale: Sale, swap: SwapCall, wallet: Wallet) -> tuple[PlannedCall, ...]:
    """The calls up to the one that swaps: native coin wrapped first, then an approval of exactly what goes in (after
    one of zero where something smaller stands; none where enough stands), then the swap.

    Raises ActionImpossible where the allowance that stands is not known, or the swap is not the one of the sale.
    """
    if (swap.amount_in, swap.least_out + sale.added) != (sale.sold, action.amount + action.spare):
        raise ActionImpossible(f"the swap of {sale.collateral.symbol} is not the one that was sized")
    holding = wallet.holding(sale.collateral.address) or TokenHolding(sale.collateral, None)
    allowed = holding.allowances.get(swap.spender)
    if allowed is None:
        raise ActionImpossible(f"what the exchange may take of {sale.collateral.symbol} could not be read")
    taking = Taking(sale.collateral.address, sale.collateral, swap.spender, swap.amount_in, "the exchange")
    wraps = (wrap_call(sale.collateral, action.wrap),) if action.wrap > 0 else ()
    let = () if allowed >= swap.amount_in else approvals(taking, allowed)
    sold, bought = amount_text(swap.amount_in, sale.collateral), amount_text(swap.least_out, action.asset)
    call = PlannedCall(
        to=swap.to,
        data=swap.data,
        value=0,
        words=f"Swap exactly {sold} on {swap.venue} for at least {bought}{standing(allowed, taking)}",
        action=None,
        rules=swap.rules,
        spend_token=None if swap.spend_word is None else sale.collateral.address,
        spend_word=swap.spend_word,
    )
    return (*wraps, *let, call)


def withdrawal(pool: str, account: str, reserve: Reserve, amount: int) -> tuple[PlannedCall, ...]:
    """The call that takes exactly `amount` base units of a collateral out of the position, into the wallet. It counts
    against the aToken's cap, the sale that follows against that of the token itself.
    """
    asset, whom = int(reserve.asset.address, 16), int(account, 16)
    call = PlannedCall(
        to=pool,
        data=WITHDRAW + word(asset) + word(amount) + word(whom),
        value=0,
        words=f"Withdraw {amount_text(amount, reserve.asset)} of the collateral into the wallet",
        action=None,
        rules=(WordRule(0, equals=asset), WordRule(1, maximum=amount), WordRule(2, equals=whom)),
        spend_token=reserve.a_token,
        spend_word=1,
    )
    return (call,)


def moved_in(logs: Sequence[Log], owner: str, token: str) -> int:
    """Base units of `token` that came to `owner` less those that went away, by the token's own events."""
    who = address_word(owner)
    return sum(_amounts(logs, token, TRANSFER, {2: who}, 0)) - sum(_amounts(logs, token, TRANSFER, {1: who}, 0))


def repaid_in(logs: Sequence[Log], pool: str, owner: str, token: str) -> int:
    """Base units of a debt in `token` of `owner` that somebody repaid, by the pool's own events."""
    return sum(_amounts(logs, pool, REPAY, {1: address_word(token), 2: address_word(owner)}, 0))


def swapped_in(logs: Sequence[Log], pool: str, owner: str, token: str) -> int | None:
    """Base units of `token` that `owner` itself sent away in its own transactions, less what the pool says it took of
    them: what went to an exchange. None where nothing did. Only the token's and the pool's own events count, and of
    the pool's those alone whose payer is `owner`: what another account supplied beside it was never its own.
    """
    who, what = address_word(owner), address_word(token)
    sent = sum(_amounts(logs, token, TRANSFER, {1: who}, 0))
    supplied = [log for log in logs if log.data[:32] == who]
    taken = sum(_amounts(supplied, pool, SUPPLY, {1: what}, 1)) + sum(_amounts(logs, pool, REPAY, {1: what, 3: who}, 0))
    return sent - taken if sent > taken else None


def _amounts(logs: Sequence[Log], emitter: str, event: bytes, topics: dict[int, bytes], place: int) -> Iterable[int]:
    """The word at `place` of the data of every such event."""
    for log in logs:
        known = log.address == emitter.lower() and len(log.data) >= 32 * (place + 1) and log.topics[:1] == (event,)
        if known and all(len(log.topics) > at and log.topics[at] == value for at, value in topics.items()):
            yield int.from_bytes(log.data[32 * place : 32 * (place + 1)], "big")
