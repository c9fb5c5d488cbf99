"""Hands for tests of the helper's other three functions: moves of a position, quoted, let, signed and foretold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tests.support.chain import Chain
from tests.support.deleverage import FAR, Holder, Receipt, transact
from tui.model.calls import CallResult
from tui.practice.abi import calldata
from tui.protocols import erc20
from tui.protocols.aave_v3 import helper_orders as orders
from tui.protocols.aave_v3.helper import ALL_OF_IT, Helper
from tui.protocols.aave_v3.helper_orders import (
    Boost,
    Outcome,
    SwitchCollateral,
    SwitchDebt,
    approve_delegation_data,
    borrow_allowance_data,
    delegation_digest,
    outcome_of,
)
from tui.protocols.aave_v3.math import ray_div, ray_mul

COLLATERAL, DEBT, BOOST = "switch_collateral", "switch_debt", "boost"
KINDS = (COLLATERAL, DEBT, BOOST)
TOPICS = {COLLATERAL: orders.COLLATERAL_SWITCHED, DEBT: orders.DEBT_SWITCHED, BOOST: orders.BOOSTED}
GAS = 5_000_000
_PLAIN: dict[str, Callable[[Any], bytes]] = {
    COLLATERAL: orders.switch_collateral_data,
    DEBT: orders.switch_debt_data,
    BOOST: orders.boost_data,
}
_SIGNED: dict[str, Callable[..., bytes]] = {
    COLLATERAL: orders.switch_collateral_with_permit_data,
    DEBT: orders.switch_debt_with_signature_data,
    BOOST: orders.boost_with_signature_data,
}
Books = dict[str, tuple[int, int, int]]
"""Of each token: scaled supply, scaled debt, what is in the wallet."""


@dataclass(frozen=True)
class Move:
    """One order of a holder: `loaned` is what is lent and supplied or repaid, `given` what is sold for it."""

    kind: str
    holder: Holder
    loaned: str
    given: str
    amount: int
    most: int
    path: bytes
    min_health: int = 0
    deadline: int = FAR

    @property
    def chain(self) -> Chain:
        return self.holder.chain

    @property
    def order(self) -> SwitchCollateral | SwitchDebt | Boost:
        loaned, given = (self.chain.token(one).address.lower() for one in (self.loaned, self.given))
        rest = (self.amount, self.most, self.min_health, self.deadline, self.path)
        if self.kind == COLLATERAL:
            return SwitchCollateral(loaned, given, *rest)
        return SwitchDebt(loaned, given, *rest) if self.kind == DEBT else Boost(given, loaned, *rest)

    @property
    def data(self) -> bytes:
        return _PLAIN[self.kind](self.order)

    @property
    def lets(self) -> str:
        """The token in which the helper is let: the aToken or the variable debt token of what is given."""
        token = self.chain.token(self.given)
        return token.a_token if self.kind == COLLATERAL else token.v_token

    def let(self, helper: Helper, amount: int | None = None) -> Receipt:
        """Approve aTokens or delegate credit, by default as much as may be sold at most."""
        amount = self.most if amount is None else amount
        data: bytes | str = approve_delegation_data(helper.address, amount)
        if self.kind == COLLATERAL:
            data = calldata("approve(address,uint256)", helper.address, amount)
        done = transact(self.chain, self.holder.address, self.lets, data)
        assert done.ok, done.reason
        return done

    def left(self, helper: Helper) -> int:
        """What stands approved or delegated."""
        if self.kind == COLLATERAL:
            owner = self.holder.address
            return int(self.chain.call(self.lets, "allowance(address,address)", ["uint256"], owner, helper.address))
        data = "0x" + borrow_allowance_data(self.holder.address, helper.address).hex()
        return int(self.chain.rpc("eth_call", {"to": self.lets, "data": data}, "latest"), 16)

    def signature(self, helper: Helper, signer: Holder | None = None) -> tuple[int, bytes, bytes]:
        """v, r, s of the permit or the delegation, for the most that may be sold."""
        signer = signer or self.holder
        if self.kind == COLLATERAL:
            return signer.permit(helper.address, self.most, self.deadline)
        digest = delegation_digest(facts_of(self.chain, self.lets, signer), helper.address, self.most, self.deadline)
        signed = signer.key.unsafe_sign_hash(digest)
        return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")

    def signed(self, helper: Helper, signer: Holder | None = None) -> bytes:
        """Calldata with the signature in it."""
        return _SIGNED[self.kind](self.order, *self.signature(helper, signer))

    def run(self, helper: Helper) -> Receipt:
        return transact(self.chain, self.holder.address, helper.address, self.data, gas=GAS)

    def changed(self, **changes: Any) -> Move:
        return replace(self, **changes)


def facts_of(chain: Chain, token: str, signer: Holder) -> Any:
    """What a signature needs of a debt token, found as that of a permit's token is."""
    results = []
    for call in erc20.permit_calls(token, signer.address):
        try:
            answer = chain.rpc("eth_call", {"to": call.to, "data": "0x" + call.data.hex()}, "latest")
            results.append(CallResult(bytes.fromhex(answer[2:])))
        except Exception:  # noqa: BLE001 - a function that the token lacks
            results.append(CallResult(None))
    facts = erc20.decode_permit(results, token, chain.market.chain_id)
    assert facts is not None
    return facts


def route(chain: Chain, first: str, last: str) -> bytes:
    """The shortest path through the market's pools, packed."""
    address = {symbol: bytes.fromhex(token.address[2:]) for symbol, token in chain.market.tokens.items()}
    waiting, seen = deque([(first, address[first])]), {first}
    while waiting:
        at, path = waiting.popleft()
        if at == last:
            return path
        for pool in chain.market.pools:
            for here, there in ((pool.symbol0, pool.symbol1), (pool.symbol1, pool.symbol0)):
                if here == at and there not in seen:
                    seen.add(there)
                    waiting.append((there, path + pool.fee.to_bytes(3, "big") + address[there]))
    raise AssertionError((first, last))


def quote(chain: Chain, path: bytes, amount: int) -> int:
    """What an exact output of `amount` takes now."""
    request = {"to": chain.market.quoter_v2, "data": calldata("quoteExactOutput(bytes,uint256)", path, amount)}
    return int(chain.rpc("eth_call", request, "latest")[2:66], 16)


def premium_of(loan: int) -> int:
    """Aave's five basis points, rounded half up."""
    return (loan * 5 + 5_000) // 10_000


def move(
    kind: str, holder: Holder, other: str, amount: int, path: bytes | None = None, slack_bps: int = 50, **changes: Any
) -> Move:
    """A move of `holder`: `other` is the collateral received, the new debt, or (boost) the debt, of `amount` lent."""
    loaned, given = {
        COLLATERAL: (other, holder.collateral),
        DEBT: (holder.debt, other),
        BOOST: (holder.collateral, other),
    }[kind]
    chain = holder.chain
    path = route(chain, loaned, given) if path is None else path
    loan = holder.owed(loaned) if amount == ALL_OF_IT else amount
    most = quote(chain, path, loan + premium_of(loan)) * (10_000 + slack_bps) // 10_000
    return replace(Move(kind, holder, loaned, given, amount, most, path), **changes)


def usual(kind: str, chain: Chain, number: int) -> Move:
    """A move such as people make: WETH and USDC held and owed, a good part of it."""
    holder = Holder(chain, number).borrow_to(14 * 10**17)
    if kind == COLLATERAL:
        return move(kind, holder, "WBTC", chain.units("WBTC", "0.5"))
    if kind == DEBT:
        return move(kind, holder, "DAI", chain.units("USDC", 40_000))
    return move(kind, holder, "USDC", chain.units("WETH", 3))


def told(kind: str, logs: list[dict[str, Any]], emitter: str) -> Outcome:
    """What the event says."""
    (log,) = [one for one in logs if one["address"].lower() == emitter.lower()]
    assert log["topics"][0] == "0x" + TOPICS[kind].hex()
    return outcome_of(bytes.fromhex(log["data"][2:]))


def books(chain: Chain, account: str) -> Books:
    scaled = "scaledBalanceOf(address)"
    return {
        token.symbol: (
            int(chain.call(token.a_token, scaled, ["uint256"], account)),
            int(chain.call(token.v_token, scaled, ["uint256"], account)),
            chain.balance(token.symbol, account),
        )
        for token in chain.market.tokens.values()
    }


@dataclass(frozen=True)
class Foretold:
    """What must become of a move at a time, to the wei."""

    used: int
    paid: int
    premium: int
    books: Books


def foretell(asked: Move, at: int, delegated: bool) -> Foretold:
    """From indices at `at`, a quote and the rounding of the pool's own maths."""
    chain, snapshot = asked.chain, asked.chain.snapshot()
    chain.rpc("evm_setNextBlockTimestamp", at)
    block = hex(chain.mine())

    def index(which: str, symbol: str) -> int:
        signature = f"getReserveNormalized{which}(address)"
        return int(chain.call(chain.market.pool, signature, ["uint256"], chain.token(symbol).address, block=block))

    income, debt = (
        {one: index(which, one) for one in (asked.loaned, asked.given)} for which in ("Income", "VariableDebt")
    )
    chain.revert(snapshot)
    account = books(chain, asked.holder.address)
    supplied, owed, wallet = account[asked.loaned]
    all_owed = ray_mul(owed, debt[asked.loaned])
    loan = all_owed if asked.amount == ALL_OF_IT else asked.amount
    used = min(loan, all_owed) if asked.kind == DEBT else loan
    paid = quote(chain, asked.path, used + premium_of(loan))
    if asked.kind == DEBT:
        owed -= ray_div(used, debt[asked.loaned])
    else:
        supplied += ray_div(used, income[asked.loaned])
    after = {**account, asked.loaned: (supplied, owed, wallet)}
    supplied, owed, wallet = after[asked.given]
    if asked.kind == COLLATERAL:
        out = ray_div(asked.most, income[asked.given])
        rest = (asked.most if delegated else ray_mul(out, income[asked.given])) - paid
        supplied += ray_div(rest, income[asked.given]) - out
    else:
        owed += ray_div(paid, debt[asked.given])
    return Foretold(used, paid, premium_of(loan), {**after, asked.given: (supplied, owed, wallet)})
