"""An armed engine that asks an aggregator for its own swaps, and every lie that the aggregator's call may be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from eth_account import Account

from tests.support.aggregators import DEPLOY, PPM, Contracts, Service, cheat, deal, errand
from tests.support.chain import Chain, keyed_account
from tests.support.deleverage import WAD
from tests.support.fault_rig import FaultRig, World, open_rig
from tests.support.http import bad_server
from tests.support.on_exchange import TARGET, USD_AT_105, plan_of
from tests.support.positions import follow, network_of
from tui.model.intent import FiringState
from tui.model.plan import Plan, Sale
from tui.practice.abi import calldata
from tui.quotes.one_inch import SWAP
from tui.quotes.router02 import EXACT_INPUT_SINGLE, within
from tui.quotes.zero_x import EXEC

KINDS = ("0x", "1inch")
SELECTOR = {"0x": EXEC, "1inch": SWAP}
THIEF = "0x" + "bad1" * 10
KEY = "sk-live-7f3c0a-4242"


@dataclass
class Scene:
    """An armed engine, the contracts of one aggregator, its service, and the account that swaps, with its key."""

    rig: FaultRig
    contracts: Contracts
    service: Service
    account: str
    key: str

    @property
    def chain(self) -> Chain:
        return self.rig.chain

    async def fall(self, ppm: int = PPM + 5_000, below: int = 0, usd: Decimal = USD_AT_105) -> None:
        """The oracle falls, the pools `below` it, the aggregator at `ppm` of the oracle's price; the engine sees it."""
        self.prepare(ppm, below, usd)
        self.rig.clock.advance(2)
        await self.rig.head()

    def prepare(self, ppm: int, below: int = 0, usd: Decimal = USD_AT_105) -> None:
        """The same, with nobody looking yet."""
        self.chain.set_price("WETH", usd)
        follow(self.chain, {"WETH": PPM - below})
        deal(self.chain, self.contracts, "WETH", "USDC", ppm)

    async def lied(self, lie: Callable[[Scene], None]) -> None:
        """The oracle falls, and the aggregator's generous call does another thing: it was simulated, is not taken, and
        that is told once.
        """
        self.prepare(PPM + 5_000)
        lie(self)
        self.rig.clock.advance(2)
        await self.rig.head()
        kind = self.contracts.kind
        assert len(self.service.asked) >= 1
        assert f"the same on {kind}: simulated, " in self.ways
        assert self.rig.said.count(f"{kind} is left alone for a while: simulated, ") == 1
        assert self.sale.venue.startswith("Uniswap V3")

    @property
    def plan(self) -> Plan:
        return plan_of(self.rig)

    @property
    def sale(self) -> Sale:
        (sale,) = [step.action.sale for step in self.plan.steps]
        assert sale is not None
        return sale

    @property
    def ways(self) -> str:
        return "\n".join(f"{one.words}: {one.why_not}" for one in self.plan.alternatives)

    def allowed(self) -> dict[str, int]:
        """What of its WETH may still be taken, by whom."""
        weth, chain = self.chain.token("WETH").address, self.chain
        spenders = (chain.market.router02, chain.market.pool, self.contracts.router)
        return {
            one: left
            for one in spenders
            if (left := chain.call(weth, "allowance(address,address)", ["uint256"], self.account, one))
        }

    async def done_on_the_exchange(self) -> None:
        """That the same block's plan goes by the exchange on the chain, and does its work."""
        assert EXACT_INPUT_SINGLE in [within(call.data)[:4] for call in self.plan.calls]
        assert self.sale.venue.startswith("Uniswap V3")
        assert (await self.rig.settle()).state is FiringState.DONE
        assert TARGET <= self.chain.health_factor(self.rig.account) <= TARGET * 1_001 // 1_000
        assert self.allowed() == {}
        assert self.chain.balance("USDC", THIEF) == self.chain.balance("WETH", THIEF) == 0
        self.rig.check()


OpenScene = Callable[..., Awaitable[Scene]]


async def open_scene(
    stack: AsyncExitStack, world: World, folder: Path, kind: str, steps: str, *, arm: bool = True, **options: Any
) -> Scene:
    """An engine with one aggregator, armed unless it is said; closed with `stack`, the chain put back."""
    snapshot = world.chain.snapshot()
    stack.callback(world.chain.revert, snapshot)
    contracts = DEPLOY[kind](world.chain)
    service = Service(world.chain, contracts)
    server = await stack.enter_async_context(bad_server(service))
    network = network_of(world.chain)
    key_file = folder / "key"
    key_file.write_text(f"{KEY}\n")
    key_file.chmod(0o600)
    config = service.config(server.url, key_file=str(key_file), timeout=options.pop("timeout", 2.0))
    others = options.pop("and_config", None)
    asked = (config,) if others is None else (config, others)
    named = {"swaps": network.swaps, "wrapped_native": network.wrapped_native, "aggregators": asked}
    rig = await open_rig(stack, world, folder, steps=steps, **{**named, **options})
    if arm:
        await rig.arm()
    return Scene(rig, contracts, service, rig.account, keyed_account(70)[1])


# --- the lies -------------------------------------------------------------------------------------------------------


def less_comes_out(at: Scene) -> None:
    cheat(at.chain, at.contracts, paid_bps=5_000)


def it_goes_elsewhere(at: Scene) -> None:
    cheat(at.chain, at.contracts, payee=THIEF)


def another_token_goes(at: Scene) -> None:
    chain, account = at.chain, at.account
    chain.give("DAI", chain.units("DAI", 100), account)
    chain.approve(account, "DAI", at.contracts.dealer)
    data = calldata("transferFrom(address,address,uint256)", account, THIEF, chain.units("DAI", 1))
    errand(chain, at.contracts, chain.token("DAI").address, data)


def a_token_nobody_watches_goes(at: Scene) -> None:
    """A receipt of the market, which no list of assets names."""
    chain, account = at.chain, at.account
    atoken = chain.token("WETH").a_token
    chain.send(account, atoken, "approve(address,uint256)", at.contracts.dealer, WAD)
    errand(chain, at.contracts, atoken, calldata("transferFrom(address,address,uint256)", account, THIEF, 10**9))


def more_is_taken(at: Scene) -> None:
    chain, account = at.chain, at.account
    chain.approve(account, "WETH", at.contracts.dealer, WAD)
    data = calldata("transferFrom(address,address,uint256)", account, THIEF, WAD // 100)
    errand(chain, at.contracts, chain.token("WETH").address, data)


def an_approval_is_left(at: Scene) -> None:
    """By a permit that its owner signed for something else."""
    chain, account = at.chain, at.account
    token = chain.token("USDC").address
    deadline = 2**63
    domain = {
        "name": chain.call(token, "name()", ["string"]),
        "version": chain.call(token, "version()", ["string"]),
        "chainId": chain.market.chain_id,
        "verifyingContract": token,
    }
    types = {"Permit": [{"name": name, "type": kind} for name, kind in (
        ("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256"),
        ("deadline", "uint256"),
    )]}  # fmt: skip
    nonce = chain.call(token, "nonces(address)", ["uint256"], account)
    said = {"owner": account, "spender": THIEF, "value": 7, "nonce": nonce, "deadline": deadline}
    signed = Account.sign_typed_data(at.key, domain, types, said)
    data = calldata(
        "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", account, THIEF, 7, deadline, signed.v,
        signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big"),
    )  # fmt: skip
    errand(chain, at.contracts, token, data)


def it_reverts(at: Scene) -> None:
    errand(at.chain, at.contracts, at.chain.token("DAI").address, calldata("transfer(address,uint256)", THIEF, 2**200))


LIES = (
    less_comes_out, it_goes_elsewhere, another_token_goes, a_token_nobody_watches_goes, more_is_taken,
    an_approval_is_left, it_reverts,
)  # fmt: skip
