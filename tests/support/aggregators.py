"""Aggregators of the tests' own: contracts that speak as 0x's and 1inch's do, and the services that make calls to them.

Everything is real but the liquidity: a contract pays at a rate out of its own purse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from eth_abi.abi import encode

from tests.contracts.conftest import make
from tests.support.chain import Chain
from tests.support.http import Get
from tui.model.network import AggregatorConfig
from tui.practice.accounts import OWNER
from tui.quotes.one_inch import SWAP
from tui.quotes.zero_x import EXEC, EXECUTE

PPM = 1_000_000
PURSE = 1_000_000
"""Whole tokens that a dealer starts with."""
Reply = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Contracts:
    """What stands on the chain for one dialect: who is called, who trades."""

    kind: str
    router: str
    dealer: str
    registry: str | None = None


def deploy_one_inch(chain: Chain) -> Contracts:
    return Contracts("1inch", make(chain, "OneInchRouter", []).lower(), make(chain, "Executor", []).lower())


def deploy_zero_x(chain: Chain) -> Contracts:
    holder, settler, registry = (make(chain, one, []).lower() for one in ("AllowanceHolder", "Settler", "Registry"))
    chain.send(OWNER, registry, "turn(address,address)", settler, "0x" + "0" * 40)
    return Contracts("0x", holder, settler, registry)


DEPLOY: dict[str, Callable[[Chain], Contracts]] = {"0x": deploy_zero_x, "1inch": deploy_one_inch}


def deal(chain: Chain, contracts: Contracts, sold: str, bought: str, ppm: int = PPM) -> None:
    """Have the dealer trade at the oracle's price times so many parts in a million, and give it a purse."""
    gives, gets = chain.token(bought), chain.token(sold)
    numerator = chain.price(sold) * gives.unit * ppm
    denominator = chain.price(bought) * gets.unit * PPM
    chain.send(OWNER, contracts.dealer, "deal(address,uint256,uint256)", gives.address, numerator, denominator)
    chain.give(bought, chain.units(bought, PURSE), contracts.dealer)


def cheat(chain: Chain, contracts: Contracts, paid_bps: int = 10_000, payee: str = "0x" + "0" * 40) -> None:
    """Have the dealer pay less than it says, or somebody else."""
    chain.send(OWNER, contracts.dealer, "cheat(uint256,address)", paid_bps, payee)


def errand(chain: Chain, contracts: Contracts, target: str, data: str) -> None:
    """Have the dealer call something on the way."""
    chain.send(OWNER, contracts.dealer, "errand(address,bytes)", target, bytes.fromhex(data.removeprefix("0x")))


@dataclass
class Service:
    """A service that answers honestly for its contracts, until `twist` changes an answer or `reply` replaces it."""

    chain: Chain
    contracts: Contracts
    path: str = ""
    twist: Callable[[dict[str, Any]], None] = lambda _answer: None
    reply: Callable[[Get], Reply | None] | None = None
    asked: list[Get] = field(default_factory=list)

    def __call__(self, request: Get) -> Reply | None:
        self.asked.append(request)
        if self.reply is not None:
            return self.reply(request)
        answer = self.one_inch(request) if self.contracts.kind == "1inch" else self.zero_x(request)
        self.twist(answer)
        return 200, {"content-type": "application/json"}, orjson.dumps(answer)

    def config(self, url: str, **changes: Any) -> AggregatorConfig:
        """How a network file names it."""
        made = AggregatorConfig(self.contracts.kind, url.rstrip("/"), self.contracts.router)
        return replace(made, registry=self.contracts.registry, **changes)

    def one_inch(self, request: Get) -> dict[str, Any]:
        asked, amount = request.query, int(request.query["amount"])
        assert request.path == f"/{self.chain.market.chain_id}/swap"
        out = self.out(amount)
        least = out * (10_000 - 100 * int(asked["slippage"])) // 10_000
        description = (asked["src"], asked["dst"], self.contracts.dealer, asked["receiver"], amount, least, 0)
        data = SWAP + encode(
            ["address", "(address,address,address,address,uint256,uint256,uint256)", "bytes"],
            [self.contracts.dealer, description, b"route"],
        )
        call = {"from": asked["from"], "to": self.contracts.router, "data": "0x" + data.hex(), "value": "0", "gas": 0}
        return {"dstAmount": str(out), "tx": {**call, "gasPrice": "1"}}

    def zero_x(self, request: Get) -> dict[str, Any]:
        asked, amount = request.query, int(request.query["sellAmount"])
        assert request.path == "/swap/allowance-holder/quote"
        assert request.headers["0x-version"] == "v2"
        out = self.out(amount)
        least = out * (10_000 - int(asked["slippageBps"])) // 10_000
        action = encode(["address", "uint256"], [asked["sellToken"], amount])
        inner = EXECUTE + encode(
            ["(address,address,uint256)", "bytes[]", "bytes32"],
            [(asked["taker"], asked["buyToken"], least), [action], bytes(32)],
        )
        settler = self.contracts.dealer
        data = EXEC + encode(
            ["address", "address", "uint256", "address", "bytes"],
            [settler, asked["sellToken"], amount, settler, inner],
        )
        call = {"to": self.contracts.router, "data": "0x" + data.hex(), "gas": "1", "gasPrice": "1", "value": "0"}
        return {
            "liquidityAvailable": True,
            "sellToken": asked["sellToken"],
            "buyToken": asked["buyToken"],
            "sellAmount": str(amount),
            "buyAmount": str(out),
            "minBuyAmount": str(least),
            "allowanceTarget": self.contracts.router,
            "transaction": call,
        }

    def out(self, amount: int) -> int:
        """What the dealer pays for so much."""
        rate = [
            int(self.chain.call(self.contracts.dealer, f"{one}()", ["uint256"])) for one in ("numerator", "denominator")
        ]
        return amount * rate[0] // rate[1]
