"""What is left of the wallets that a plan is paid from, as far as it has come. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tui.model.wallet import Wallet


@dataclass(frozen=True, slots=True)
class Purse:
    """What is left of one wallet: base units by token, and wei of the native coin. None: could not be read."""

    balances: Mapping[str, int | None]
    native: int | None

    @classmethod
    def of(cls, wallet: Wallet) -> Purse:
        """All of it."""
        return cls(
            MappingProxyType({token: holding.balance for token, holding in wallet.tokens.items()}), wallet.native
        )

    def after(self, token: str, amount: int, wrap: int) -> Purse:
        """Once so much of a token was paid out of it, and `wrap` of the native coin was wrapped for that before."""
        left = (self.balances[token] or 0) + wrap - amount
        native = None if self.native is None else self.native - wrap
        return Purse(MappingProxyType({**self.balances, token: left}), native)


NO_PURSE = Purse(MappingProxyType({}), None)
