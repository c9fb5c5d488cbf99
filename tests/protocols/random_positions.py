"""Seeded positions of every shape, opened for real in a practice market."""

from __future__ import annotations

import random

from tests.support.chain import Chain
from tui.practice.errors import PracticeError

SYMBOLS = ("WETH", "wstETH", "WBTC", "USDC", "DAI", "USDT")
E_MODE_MEMBERS = {1: ("WETH", "wstETH"), 2: ("USDC", "DAI", "USDT")}


SHAPES = ("nothing", "supplies", "dust", "one", "several", "several", "e-mode", "e-mode", "limit", "both")


def open_position(chain: Chain, rng: random.Random, account: str, shapes: tuple[str, ...] = SHAPES) -> None:
    """Open one: nothing, supplies alone, dust, switched-off collateral, e-mode, several debts; some near the limit."""
    shape = rng.choice(shapes)
    if shape == "nothing":
        return
    if shape == "e-mode":
        category = rng.choice((1, 2))
        chain.set_emode(account, category)
        members = E_MODE_MEMBERS[category]
        held = {rng.choice(members), *rng.sample(SYMBOLS, rng.choice((0, 0, 1)))}
        owed = set(rng.sample(members, rng.choice((1, 1, 2))))
    else:
        held = set(rng.sample(SYMBOLS, 1 if shape in ("one", "dust") else rng.randint(1, 4)))
        owed = set(rng.sample(SYMBOLS, rng.randint(1, 3)))
        if shape == "both":
            owed.add(rng.choice(sorted(held)))
    for symbol in sorted(held):
        dollars = rng.uniform(2, 2_000_000) if shape != "dust" else 0
        unit = chain.token(symbol).unit
        amount = int(dollars / (chain.price(symbol) / 1e8) * unit) + rng.randint(1, 999)
        chain.supply(account, symbol, amount)
    if shape in ("supplies",):
        if rng.random() < 0.5:
            chain.set_collateral(account, sorted(held)[0], False)
        return
    for count, symbol in enumerate(sorted(owed)):
        available = chain.account_data(account)[2]
        share = rng.uniform(0.9, 0.999) if shape == "limit" else rng.uniform(0.01, 0.7)
        if shape == "dust":
            share = 1
        amount = int(available * share) * chain.token(symbol).unit // chain.price(symbol) // (len(owed) - count)
        if amount:
            chain.borrow(account, symbol, amount)
    if len(held) > 1 and rng.random() < 0.4:
        try:
            chain.set_collateral(account, sorted(held)[-1], False)
        except PracticeError:
            return  # it carries the debt: the pool refuses
