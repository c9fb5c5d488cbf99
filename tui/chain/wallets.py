"""Which packed calls read a wallet, and the wallet out of their answers. Sans-IO.

Nonces come beside them: the EVM has no instruction that reads one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType

from tui.chain.batch import Entry, Kind
from tui.model.calls import Call, CallResult
from tui.model.pinned import delegate_of
from tui.model.position import Asset
from tui.model.wallet import TokenHolding, Wallet, WalletQuery
from tui.protocols import erc20

_TOKEN_GAS = 1_000_000
"""What one view of a token may take: a token that burns gas must not starve the rest of the batch."""
_PERMIT_READS = 5


def wallet_entries(queries: Sequence[WalletQuery]) -> list[Entry]:
    """The packed calls of all `queries`; their answers go to `decode_wallets` in this order."""
    entries: list[Entry] = []
    for query in queries:
        entries.append(Entry(query.account, kind=Kind.BALANCE))
        entries.append(Entry(query.account, kind=Kind.CODE_SIZE))
        entries.append(Entry(query.account, kind=Kind.CODE))
        entries.extend(
            Entry(call.to, call.data, Kind.VIEW, _TOKEN_GAS)
            for asset in query.tokens
            for call in _token_calls(query, asset)
        )
    return entries


def decode_wallets(
    queries: Sequence[WalletQuery], results: Sequence[CallResult], nonces: Sequence[int], chain_id: int
) -> tuple[Wallet, ...]:
    """A wallet a query. What a token does not answer in its proper shape is None, never zero."""
    answers = iter(results)
    return tuple(_wallet(query, answers, nonce, chain_id) for query, nonce in zip(queries, nonces, strict=True))


def _token_calls(query: WalletQuery, asset: Asset) -> list[Call]:
    calls = [erc20.balance_of(asset.address, query.account)]
    calls += [erc20.allowance(asset.address, query.account, spender) for spender in query.spenders]
    if query.permits:
        calls += erc20.permit_calls(asset.address, query.account)
    return calls


def _wallet(query: WalletQuery, answers: Iterator[CallResult], nonce: int, chain_id: int) -> Wallet:
    native = erc20.decode_uint(next(answers).data)
    code_size = erc20.decode_uint(next(answers).data)
    code = next(answers).data
    tokens = {asset.address: _holding(query, asset, answers, chain_id) for asset in query.tokens}
    # A code size that could not be read is taken for code: then nothing is signed for this account.
    return Wallet(
        query.account,
        native,
        nonce,
        MappingProxyType(tokens),
        has_code=code_size != 0,
        code_read=code_size is not None,
        delegate=None if code is None or code_size is None else delegate_of(code[:code_size]),
    )


def _holding(query: WalletQuery, asset: Asset, answers: Iterator[CallResult], chain_id: int) -> TokenHolding:
    balance = erc20.decode_uint(next(answers).data)
    allowances: dict[str, int] = {}
    for spender in query.spenders:
        allowed = erc20.decode_uint(next(answers).data)
        if allowed is not None:
            allowances[spender.lower()] = allowed
    permit = None
    if query.permits:
        facts = [next(answers) for _ in range(_PERMIT_READS)]
        permit = erc20.decode_permit(facts, asset.address, chain_id)
    return TokenHolding(asset, balance, MappingProxyType(allowances), permit)
