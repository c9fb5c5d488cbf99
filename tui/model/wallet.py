"""What a plain account holds outside a market: native coin, tokens, allowances, nonces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tui.model.position import Asset


@dataclass(frozen=True, slots=True)
class PermitFacts:
    """What an EIP-2612 signature needs of a token; `domain_separator` is 0x-hex as the token answers it."""

    name: str
    version: str
    domain_separator: str
    nonce: int


@dataclass(frozen=True, slots=True)
class TokenHolding:
    """One token of an account in base units; allowances by lower-case spender. None: could not be read."""

    asset: Asset
    balance: int | None
    allowances: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    permit: PermitFacts | None = None


@dataclass(frozen=True, slots=True)
class Wallet:
    """One account at one block. `native` in wei, `nonce` the next one by the chain at that block. None: not read.

    `has_code` says that the account is a contract or carries a delegation: then it is not a plain account. Where its
    code could not be looked at, `code_read` is False, and it is taken for one that has code. `permits` False: nothing
    is to be permitted by signature now, not even of a token that is not listed here. `delegate`: whom it is delegated
    to (EIP-7702, lower-case hex); `own_code`: that the code there is Trimtab's own, by its hash, at that block.
    """

    account: str
    native: int | None
    nonce: int | None
    tokens: Mapping[str, TokenHolding] = field(default_factory=lambda: MappingProxyType({}))
    has_code: bool = False
    code_read: bool = True
    permits: bool = True
    delegate: str | None = None
    own_code: bool = False

    @property
    def is_foreign(self) -> bool:
        """Whether code other than Trimtab's may act for the account, or whether it does is not known."""
        return self.has_code and not (self.own_code and self.delegate is not None)

    def acts_by(self, helper: str) -> bool:
        """Whether the account runs the code at `helper` (lower-case hex) as its own, and that is Trimtab's."""
        return self.own_code and self.delegate == helper

    def holding(self, token: str) -> TokenHolding | None:
        """The holding of a token by lower-case address, or None where it was not asked for."""
        return self.tokens.get(token)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What `spender` may take of an account's token, in base units; all addresses lower-case."""

    account: str
    token: str
    spender: str
    amount: int


def standing(wallet: Wallet) -> tuple[Allowance, ...]:
    """All that anybody may take of a wallet, as far as it was read."""
    return tuple(
        Allowance(wallet.account, token, spender, amount)
        for token, holding in wallet.tokens.items()
        for spender, amount in holding.allowances.items()
        if amount
    )


@dataclass(frozen=True, slots=True)
class WalletQuery:
    """What to read of one account beside its native balance, nonce and code: balances of `tokens`, what each of
    `spenders` may take of them, and (where `permits`) what an EIP-2612 signature would need.
    """

    account: str
    tokens: tuple[Asset, ...] = ()
    spenders: tuple[str, ...] = ()
    permits: bool = False
