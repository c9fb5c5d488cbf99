"""What the chain says of the deleverage helper: its code, its deployer, what an account lets it take and borrow, and
whom that account is delegated to. Everything at one block, nothing trusted, nothing signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.config.options import UsageError
from tui.model.block import BlockRef
from tui.model.calls import Call, CallResult
from tui.model.network import MarketConfig, Network
from tui.model.position import MarketKey
from tui.ports.chain import Reader, ReadFailed
from tui.protocols import erc20
from tui.protocols.aave_v3 import lens
from tui.protocols.aave_v3.helper import DEPLOYER, DEPLOYER_CODE, Helper, delegate_of
from tui.protocols.aave_v3.helper_orders import borrow_allowance_data
from tui.protocols.codes import code_call as code_call
from tui.protocols.erc20 import address_word

PROTOCOL = "aave-v3"


@dataclass(frozen=True, slots=True)
class Receipts:
    """The aToken of one reserve, and how much of it the helper may take from the account, in base units."""

    token: str
    symbol: str
    decimals: int
    allowed: int


@dataclass(frozen=True, slots=True)
class Credit:
    """The variable debt token of one reserve, and how much of the reserve the helper may borrow on the account, in base
    units. A boost or a switched debt that took less than it was given leaves the rest of it standing.
    """

    token: str
    symbol: str
    decimals: int
    allowed: int


@dataclass(frozen=True, slots=True)
class HelperFacts:
    """One market's helper at one block. `code` is what stands at its address, empty where nothing does."""

    market: MarketKey
    helper: Helper
    code: bytes
    deployer_stands: bool
    configured: str | None
    receipts: tuple[Receipts, ...]
    credit: tuple[Credit, ...] = ()

    @property
    def given(self) -> tuple[Receipts | Credit, ...]:
        """All that the account lets it take or borrow now; empty where it may do neither."""
        given: tuple[Receipts | Credit, ...] = (*self.receipts, *self.credit)
        return tuple(one for one in given if one.allowed)

    @property
    def deployed(self) -> bool:
        """Whether any code is there."""
        return bool(self.code)

    @property
    def faults(self) -> tuple[str, ...]:
        """What differs from the packaged helper, in words; empty where nothing does."""
        return differences(self.helper, self.code)


@dataclass(frozen=True, slots=True)
class Delegation:
    """Whom an account runs the code of (EIP-7702), and whether that is one of our helpers, by its code."""

    delegate: str
    is_helper: bool


def router_of(network: Network) -> str:
    """SwapRouter02 of the network, lower-case hex. Raises UsageError where its file names none."""
    for swap in network.swaps:
        router = swap.options.get("router02")
        if swap.kind == "uniswap-v3" and isinstance(router, str):
            return router.lower()
    raise UsageError(
        f'network {network.name} names no Uniswap router; add a [[swap]] table with kind = "uniswap-v3" and '
        'router02 = "0x..." to its file'
    )


def markets_of(network: Network, name: str | None) -> tuple[MarketConfig, ...]:
    """The Aave V3 markets of the network, or the one of that name. Raises UsageError where there is none."""
    found = [one for one in network.markets if one.protocol == PROTOCOL]
    if not found:
        raise UsageError(f"network {network.name} has no {PROTOCOL} market, and the helper is for those")
    named = [one for one in found if name in (None, one.name, f"{PROTOCOL}/{one.name}")]
    if not named:
        known = ", ".join(one.name for one in found)
        raise UsageError(f"network {network.name} has no {PROTOCOL} market {name!r} (there are: {known})")
    return tuple(named)


async def read_helpers(
    reader: Reader, block: BlockRef, network: Network, markets: Sequence[MarketConfig], account: str | None
) -> tuple[HelperFacts, ...]:
    """The helper of each market at `block`. Raises UsageError, ReadFailed, ChainUnreachable."""
    router = router_of(network)
    providers = [_provider(one) for one in markets]
    results = await reader.read(block, [lens.read_call(provider, ()) for provider in providers])
    found = []
    for market, result in zip(markets, results, strict=True):
        try:
            reading = lens.decode_reading(_told(result, f"the market {market.name}"))
        except lens.LensFault as fault:
            raise ReadFailed(f"the market {market.name} cannot be read: {fault}") from fault
        if not int(reading.pool, 16):
            raise ReadFailed(f"the market {market.name} names no pool; check pool_addresses_provider")
        helper = Helper(reading.pool, router)
        codes = [code_call(helper.address), code_call(DEPLOYER)]
        answers = await reader.read(block, codes)
        code, deployer = (_told(answer, "the code at an address") for answer in answers)
        receipts, credit = ((), ()) if account is None else await _given(reader, block, reading, helper, account)
        found.append(
            HelperFacts(
                MarketKey(PROTOCOL, market.name),
                helper,
                code,
                deployer == DEPLOYER_CODE,
                network.helpers.get("deleverage"),
                receipts,
                credit,
            )
        )
    return tuple(found)


async def _given(
    reader: Reader, block: BlockRef, reading: lens.RawReading, helper: Helper, account: str
) -> tuple[tuple[Receipts, ...], tuple[Credit, ...]]:
    """What the helper may take of the account's aTokens and borrow of each reserve, zeros counted in."""
    supplies = [one for one in reading.reserves if int(one.a_token, 16)]
    debts = [one for one in reading.reserves if int(one.variable_token, 16)]
    asked = [erc20.symbol(one.a_token) for one in supplies]
    asked += [erc20.symbol(one.asset) for one in debts]
    asked += [erc20.allowance(one.a_token, account, helper.address) for one in supplies]
    asked += [credit_call(one.variable_token, account, helper.address) for one in debts]
    answers = await reader.read(block, asked)
    half = len(supplies) + len(debts)
    symbols = [erc20.decode_text(answer.data) or "?" for answer in answers[:half]]
    tokens = [*(one.a_token for one in supplies), *(one.variable_token for one in debts)]
    amounts = []
    for token, answer in zip(tokens, answers[half:], strict=True):
        amount = erc20.decode_uint(answer.data)
        if amount is None:
            raise ReadFailed(f"what the helper may take of {token} cannot be read: {answer.error}")
        amounts.append(amount)
    decimals = [min(one.decimals, erc20.MAX_DECIMALS) for one in (*supplies, *debts)]
    rows = list(zip(tokens, symbols, decimals, amounts, strict=True))
    return tuple(Receipts(*row) for row in rows[: len(supplies)]), tuple(Credit(*row) for row in rows[len(supplies) :])


async def read_delegation(
    reader: Reader, block: BlockRef, account: str, helpers: Sequence[HelperFacts]
) -> Delegation | None:
    """The account's delegation at `block`, None where it has none. Raises ReadFailed, ChainUnreachable."""
    (answer,) = await reader.read(block, [code_call(account)])
    delegate = delegate_of(_told(answer, "the account's code"))
    if delegate is None:
        return None
    ours = any(facts.helper.address == delegate and facts.code == facts.helper.code for facts in helpers)
    return Delegation(delegate, ours)


def credit_call(token: str, account: str, helper: str) -> Call:
    """Asks a variable debt token what the helper may still borrow on the account."""
    return Call(token, borrow_allowance_data(account, helper))


def differences(helper: Helper, code: bytes) -> tuple[str, ...]:
    """How code at the helper's address differs from what must stand there, in words."""
    if code == helper.code:
        return ()
    if not code:
        return ("nothing is deployed there",)
    body, told = helper.code[:-96], code[len(helper.code) - 96 :]
    if len(code) != len(helper.code):
        return (f"its code is {len(code)} bytes long, the helper's is {len(helper.code)}",)
    at = next((at for at, (one, other) in enumerate(zip(code, body, strict=False)) if one != other), None)
    if at is not None:
        return (f"its code differs from the helper's from byte {at} on",)
    names = (("own address", helper.address), ("pool", helper.pool), ("router", helper.router))
    words = [told[32 * at : 32 * at + 32] for at in range(3)]
    return tuple(
        f"it was made for another {name}: 0x{word[12:].hex()}, not {wanted}"
        for word, (name, wanted) in zip(words, names, strict=True)
        if word != address_word(wanted)
    )


def _provider(market: MarketConfig) -> str:
    provider = market.options.get("pool_addresses_provider")
    if not isinstance(provider, str):
        raise UsageError(f"market {market.name} names no pool_addresses_provider; add it to the network file")
    return provider.lower()


def _told(result: CallResult, what: str) -> bytes:
    if result.data is None:
        raise ReadFailed(f"{what} cannot be read: {result.error or 'no reason given'}")
    return result.data
