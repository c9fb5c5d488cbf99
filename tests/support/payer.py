"""A second account with a key of its own, which pays for a position that is not its own."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from eth_account import Account

from tests.support.chain import ETHER, Chain, keyed_account
from tests.support.fault_rig import PASSWORD
from tui.vault.keystore import MIN_PBKDF2_ROUNDS

HOT = keyed_account(8)[0].lower()


def write_keystore(folder: Path, password: str = PASSWORD) -> Path:
    """Its key file, by another client, in an existing folder."""
    path = folder / "hot.json"
    path.write_text(json.dumps(Account.encrypt(keyed_account(8)[1], password, "pbkdf2", MIN_PBKDF2_ROUNDS)))
    path.chmod(0o600)
    return path


def fund(chain: Chain, usdc: int = 20_000, weth: int | str | Decimal = 0, ether: int = 10) -> None:
    """What it has, in whole tokens."""
    chain.set_ether(HOT, ether * ETHER)
    for symbol, amount in (("USDC", usdc), ("WETH", weth)):
        if amount:
            chain.give(symbol, chain.units(symbol, amount), HOT)
