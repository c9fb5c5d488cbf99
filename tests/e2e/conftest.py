"""A whole engine on a real node: a keystore, a signer process, a journal on disk, driven block by block."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from eth_account import Account

from tests.support.aggregated import KINDS
from tests.support.chain import ETHER, Chain, keyed_account
from tests.support.clock import FakeClock
from tests.support.deleverage import remove_code, the_helper
from tests.support.fault_rig import World, open_world, part_way
from tests.support.on_exchange import SELL, SWAP, Open, open_armed, usually
from tui.config.paths import resolve_paths
from tui.engine.configwatch import ConfigWatch
from tui.engine.facade import Passwords
from tui.model.intent import Firing
from tui.model.network import PRICE_HEARTBEAT, MarketConfig, Network
from tui.ports.clock import Clock
from tui.practice.node import NodeProgram
from tui.vault.keystore import MIN_PBKDF2_ROUNDS
from tui.wiring import Wired, assemble

PASSWORD = "correct horse battery"

RULE = """\
[[rule]]
name = "guard"
position = "aave-v3/core"
mode = "{mode}"
when = {{ health_factor_below = "1.25", for_blocks = 1 }}
target = {{ health_factor = "1.50" }}

[[rule.step]]
action = "repay"
asset = "USDC"
max = "{usdc}"

[[rule.step]]
action = "add-collateral"
asset = "WETH"
max = "10"

[rule.limits]
max_cost_usd = "200"
max_base_fee_gwei = "500"
daily_spend_usd = "100000"
cooldown = "0s"
"""


@dataclass
class Trader:
    """An account with a key, a leveraged position and means to defend it."""

    address: str
    keystore: Path
    rules: Path


@dataclass
class Rig:
    """An engine and the hands to drive it."""

    chain: Chain
    trader: Trader
    twin: str
    wired: Wired
    opened_at: int

    async def head(self) -> None:
        """Let the engine take the newest block."""
        block = await self.wired.chain.heads.poll()
        if block is not None:
            await self.wired.engine.on_head(block)

    async def mine(self, blocks: int = 1) -> None:
        """Mine one block after another, each taken by the engine."""
        for _ in range(blocks):
            self.chain.mine()
            await self.head()

    async def arm(self, rule: str = "guard", passwords: Passwords = PASSWORD) -> None:
        await self.wired.commands.arm(rule, rule, passwords)

    def health(self, account: str) -> int:
        return self.chain.health_factor(account)

    def transactions_of(self, account: str) -> list[str]:
        """Hashes of all transactions that `account` signed itself since the engine was opened, oldest first."""
        found = []
        for number in range(self.opened_at + 1, self.chain.block_number() + 1):
            block = self.chain.rpc("eth_getBlockByNumber", hex(number), True)
            found += [tx["hash"] for tx in block["transactions"] if tx["from"].lower() == account.lower()]
        return found

    def allowances(self, account: str) -> dict[str, int]:
        """What the pool may still take of the account's tokens; empty where nothing."""
        found = {
            symbol: self.chain.call(
                token.address, "allowance(address,address)", ["uint256"], account, self.chain.market.pool
            )
            for symbol, token in self.chain.market.tokens.items()
        }
        return {symbol: amount for symbol, amount in found.items() if amount}

    def firings(self) -> tuple[Firing, ...]:
        assert self.wired.journal is not None
        return self.wired.journal.firings()


MakeRig = Callable[..., Awaitable[Rig]]


@pytest.fixture(autouse=True)
def _no_signer_is_started_cold(warm_signers: None) -> None:
    """Whatever opens an engine here: loading the signing library is most of what many of these tests would cost."""


@pytest.fixture(scope="session")
def keystore_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The keystore of `keyed_account(7)`, made once by another client: the least that is not refused as weak, because
    hundreds of tests open it.
    """
    folder = tmp_path_factory.mktemp("keys")
    folder.chmod(0o700)
    path = folder / "trader.json"
    document = Account.encrypt(keyed_account(7)[1], PASSWORD, "pbkdf2", MIN_PBKDF2_ROUNDS)
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


@pytest.fixture
async def make_rig(
    market_v32: Chain, keystore_file: Path, tmp_path: Path, warm_signers: None
) -> AsyncIterator[MakeRig]:
    """Opens a position (10 WETH, 18,000 USDC owed) twice, for the trader and for a twin, and an engine on both.

    `limits` are lines added under the rule's limits; `config` watches what the network was read from; `keystores` are
    the keys that are here (the trader's, unless it is said), `wrapped`: the network knows its wrapped native coin;
    `partial`: rules may be armed though they do not reach their targets.
    """
    opened: list[Wired] = []

    async def make(
        mode: str = "auto",
        usdc: str = "20000",
        wallet_usdc: int = 20_000,
        wallet_weth: int = 5,
        state: str = "state",
        *,
        rules_text: str | None = None,
        limits: str = "",
        daily: str = "100000",
        heartbeat: int = PRICE_HEARTBEAT,
        confirmations: int = 2,
        clock: Clock | None = None,
        config: ConfigWatch | None = None,
        keystores: Mapping[str, Path] | None = None,
        wrapped: bool = False,
        partial: bool = False,
    ) -> Rig:
        trader = keyed_account(7)[0]
        chain = market_v32
        twin = chain.new_account()
        if not opened:
            chain.set_ether(trader, 10 * ETHER)
            for account in (trader, twin):
                chain.supply(account, "WETH", chain.units("WETH", 10))
                chain.borrow(account, "USDC", chain.units("USDC", 18_000))
                chain.send(account, chain.token("USDC").address, "transfer(address,uint256)", chain.market.pool,
                           chain.units("USDC", 18_000))  # fmt: skip
            chain.give("USDC", chain.units("USDC", wallet_usdc), trader)
            chain.give("WETH", chain.units("WETH", wallet_weth), trader)
        rules = tmp_path / "rules.toml"
        text = (rules_text or RULE.format(mode=mode, usdc=usdc).replace('"100000"', f'"{daily}"')) + limits
        rules.write_text(part_way(text) if partial else text)
        network = Network(
            name="test",
            chain_id=31337,
            block_time=2.0,
            confirmations=confirmations,
            rpc=(chain.url,),
            native_usd_feed=chain.token("WETH").feed.lower(),
            wrapped_native=chain.token("WETH").address.lower() if wrapped else None,
            markets=(
                MarketConfig("aave-v3", "core", {"pool_addresses_provider": chain.market.provider.lower()}, heartbeat),
            ),
        )
        wired = assemble(
            network,
            resolve_paths(tmp_path / "config", tmp_path / state),
            accounts=[trader, twin],
            rules_files=[rules],
            keystores={trader: keystore_file} if keystores is None else keystores,
            signing=True,
            clock=clock or FakeClock(time.time()),
            config=config,
        )
        opened.append(wired)
        rig = Rig(chain, Trader(trader, keystore_file, rules), twin, wired, chain.block_number())
        await wired.engine.start()
        await rig.head()
        return rig

    yield make
    for wired in opened:
        await wired.aclose()


# --- a position that is opened once for a module, behind proxies -----------------------------------------------------


@pytest.fixture(scope="module")
def world(
    anvil: NodeProgram, artifact_folders: dict[str, Path], artifacts_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    yield from open_world(anvil, artifact_folders, artifacts_dir, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def without_helper(world: World) -> None:
    """Nobody ever deployed the helper, for a whole module."""
    remove_code(world.chain, the_helper(world.chain).address)


@pytest.fixture
async def defending(world: World, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens an armed engine whose network names the exchange; `steps` are the rule's, options those of `open_rig`."""
    async with AsyncExitStack() as stack:
        yield partial(open_armed, stack, world, tmp_path)


@pytest.fixture
def selling(defending: Open) -> Open:
    """Opens an engine armed with a sale of collateral, through the helper."""
    return usually(defending, SELL.format("2%"))


@pytest.fixture
def swapping(defending: Open) -> Open:
    """Opens an engine armed with a repayment that another token of the wallet is swapped for."""
    return usually(defending, SWAP.format("2%"))


@pytest.fixture
def rounds(without_helper: None, defending: Open) -> Open:
    """Opens an engine armed with a deleverage, for which there is no helper."""
    return usually(defending, SELL.format("2%"), helpers={})


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of aggregator in turn."""
    return str(request.param)
