"""The calls of a waterfall, each built on what the earlier ones leave of allowances and permit nonces."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from tui.model.plan import Action, PlannedCall, Refusal, Sale, SaleTerms
from tui.model.rule import FROM_WALLET, ActionKind, Rule, StandingAllowance
from tui.model.signing import WordRule
from tui.model.text import short_address
from tui.model.wallet import Allowance, PermitFacts, Wallet
from tui.planning.circumstances import LIFETIME
from tui.planning.payers import wallets_by_payer
from tui.planning.texts import amount_text
from tui.planning.waterfall import Waterfall
from tui.protocols.base import LendingMarket
from tui.protocols.erc20 import approve_data

UNLIMITED = 2**255
"""Allowances from here on are counted as without limit: many tokens never lower them."""


def calls_of(
    market: LendingMarket,
    fall: Waterfall,
    wallet: Wallet,
    payers: Mapping[str, Wallet] = MappingProxyType({}),
    ours: Collection[Allowance] = (),
) -> tuple[PlannedCall, ...]:
    """The transactions that do a waterfall, in order, each with who signs it. `wallet` is that of the position's
    account, `payers` those of the others by account. What stands of `ours`, that we gave ourselves, is taken back
    before a step that needs less of it. Raises ActionImpossible where one cannot be built.
    """
    calls: list[PlannedCall] = []
    receipts: dict[str, SaleTerms] = {}
    wallets = wallets_by_payer(wallet, payers)
    needed = _needed(market, fall)
    for number, step, before in zip(fall.taken, fall.steps, fall.befores, strict=True):
        action = _on_terms(step.action, receipts)
        pays = wallets[action.payer]
        spender = _spender(market, action)
        left = None if spender is None else left_by_us(pays, action.asset.address, spender, ours)
        if left is not None and spender is not None and left.amount > needed[action.payer, left.token, spender]:
            back = replace(_taken_back(left, pays), step=number, takes=0)
            calls.append(back if action.payer is None else signed_by(back, action.payer))
            pays = wallets[action.payer] = _without(pays, left)
        made = market.calls_for(before, action, pays, before.block.timestamp + LIFETIME)
        made = tuple(replace(call, step=number, takes=_takes(call, action)) for call in made)
        calls.extend(made if action.payer is None else (signed_by(call, action.payer) for call in made))
        signed = any(call.permit is not None for call in made)
        if action.sale is not None and action.sale.swap is None:
            receipts[action.sale.terms.receipt] = _terms_after(action.sale, signed)
        else:
            wallets[action.payer] = _wallet_after(market, _swapped(pays, action), action, signed)
    return tuple(calls)


def _takes(call: PlannedCall, action: Action) -> int:
    """Base units that one of the calls of an action takes, at the most, of what the maximum of its step is of."""
    sale = action.sale
    if sale is None or sale.swap is None:
        return (action.amount if sale is None else sale.most_sold) if call.action is not None else 0
    return sale.swap.amount_in if (call.to, call.data) == (sale.swap.to, sale.swap.data) else 0


def signed_by(call: PlannedCall, payer: str) -> PlannedCall:
    """A call that another account than the position's signs, and says so."""
    words = f"{call.words}, signed by {short_address(payer)}"
    stand_in = tuple(signed_by(one, payer) for one in call.stand_in)
    return replace(call, sender=payer, words=words, stand_in=stand_in)


def _on_terms(action: Action, receipts: dict[str, SaleTerms]) -> Action:
    """The action with what an earlier sale of the same collateral leaves of its allowance and permit nonce."""
    if action.sale is None or action.sale.terms.receipt not in receipts:
        return action
    left = receipts[action.sale.terms.receipt]
    terms = replace(action.sale.terms, allowed=left.allowed, permit=left.permit)
    return replace(action, sale=replace(action.sale, terms=terms))


def _terms_after(sale: Sale, signed: bool) -> SaleTerms:
    terms = sale.terms
    if terms.delegated:
        return terms  # what stands approved or signed is not touched
    return replace(terms, allowed=_left(terms.allowed, sale.most_sold), permit=_next(terms.permit, signed))


def _swapped(wallet: Wallet, action: Action) -> Wallet:
    """The wallet once the exchange took what a swap of its own sells."""
    sale = action.sale
    if sale is None or sale.swap is None:
        return wallet
    holding = wallet.holding(sale.collateral.address)
    if holding is None or sale.swap.spender not in holding.allowances:
        return wallet
    allowances = dict(holding.allowances)
    allowances[sale.swap.spender] = _left(allowances[sale.swap.spender], sale.swap.amount_in)
    left = replace(holding, allowances=allowances)
    return replace(wallet, tokens={**wallet.tokens, sale.collateral.address: left})


def _wallet_after(market: LendingMarket, wallet: Wallet, action: Action, signed: bool) -> Wallet:
    holding, spender = wallet.holding(action.asset.address), market.spender(action.kind)
    if holding is None or spender is None:
        return wallet
    allowances = dict(holding.allowances)
    if spender in allowances:
        allowances[spender] = _left(allowances[spender], action.amount)
    left = replace(holding, allowances=allowances, permit=_next(holding.permit, signed))
    return replace(wallet, tokens={**wallet.tokens, action.asset.address: left})


def _left(allowed: int, taken: int) -> int:
    """An allowance after so much was taken: one that did not suffice was replaced by exactly what was taken."""
    if allowed >= UNLIMITED:
        return allowed
    return allowed - taken if allowed >= taken else 0


def _next(permit: PermitFacts | None, signed: bool) -> PermitFacts | None:
    return replace(permit, nonce=permit.nonce + 1) if permit is not None and signed else permit


def refuse_standing_allowance(
    rule: Rule,
    market: LendingMarket,
    fall: Waterfall,
    wallet: Wallet,
    payers: Mapping[str, Wallet] = MappingProxyType({}),
    ours: Collection[Allowance] = (),
) -> Refusal | None:
    """Why the rule does not act where the market may take more than this plan needs; None where it may act.

    A token with permits is no exception: a permit would silently replace an allowance that its owner gave for
    something else, and a pool that swallows a failed permit falls back to what stands. What a seller of collateral or
    the router of an exchange may take does not matter: they act for the sender of the transaction alone. Nor does what
    is left of an approval of ours (`ours`), whose use was undone: it is taken back first.
    """
    if rule.limits.standing_allowance is StandingAllowance.USE:
        return None
    wallets = wallets_by_payer(wallet, payers)
    for (payer, token, spender), amount in _needed(market, fall).items():
        holding = wallets[payer].holding(token)
        allowed = None if holding is None else holding.allowances.get(spender)
        if holding is None or allowed is None or allowed <= amount:
            continue
        if left_by_us(wallets[payer], token, spender, ours) is not None:
            continue
        much = "without limit" if allowed >= UNLIMITED else amount_text(allowed, holding.asset)
        whose = "the wallet's" if payer is None else f"{short_address(payer)}'s"
        return Refusal(
            "standing-allowance",
            f"{short_address(spender)} may take more of {whose} {holding.asset.symbol} ({much}) than the "
            f"{amount_text(amount, holding.asset)} that is needed: take that allowance back (approve 0), or write "
            'standing_allowance = "use" under [rule.limits]',
        )
    return None


def _spender(market: LendingMarket, action: Action) -> str | None:
    """Who takes what an action pays out of a wallet into the market."""
    pays = action.kind in FROM_WALLET or action.kind is ActionKind.SWAP_TO_REPAY
    return market.spender(action.kind) if pays else None


def _needed(market: LendingMarket, fall: Waterfall) -> dict[tuple[str | None, str, str], int]:
    """What the market takes out of wallets in all, by who pays, token and spender."""
    needed: dict[tuple[str | None, str, str], int] = {}
    for action in fall.actions:
        spender = _spender(market, action)
        if spender is not None:
            key = (action.payer, action.asset.address, spender)
            needed[key] = needed.get(key, 0) + action.amount
    return needed


def left_by_us(wallet: Wallet, token: str, spender: str, ours: Collection[Allowance]) -> Allowance | None:
    """What stands of a wallet's token for a spender, where that is what we approved ourselves."""
    holding = wallet.holding(token)
    amount = None if holding is None else holding.allowances.get(spender)
    left = None if amount is None else Allowance(wallet.account, token, spender, amount)
    return left if left is not None and left in ours else None


def _taken_back(left: Allowance, wallet: Wallet) -> PlannedCall:
    """An approval of nothing in place of one of ours."""
    holding = wallet.tokens[left.token]
    return PlannedCall(
        to=left.token,
        data=approve_data(left.spender, 0),
        value=0,
        words=f"Take back what an earlier firing let {short_address(left.spender)} take: "
        f"{amount_text(left.amount, holding.asset)}",
        action=None,
        rules=(WordRule(0, int(left.spender, 16)), WordRule(1, equals=0)),
    )


def _without(wallet: Wallet, left: Allowance) -> Wallet:
    """The wallet once an allowance is taken back."""
    holding = wallet.tokens[left.token]
    none = replace(holding, allowances={**holding.allowances, left.spender: 0})
    return replace(wallet, tokens={**wallet.tokens, left.token: none})
