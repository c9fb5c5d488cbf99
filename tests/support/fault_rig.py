"""A whole engine behind faulty providers on a real node: keystore, signer process, journal, contracts.

One node and one opened position a test module; every test gets the chain back as it was. The clock is a test's.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eth_account import Account

from tests.support.chain import ETHER, Chain, keyed_account
from tests.support.clock import FakeClock
from tests.support.pool_rules import Sent, read_raw
from tests.support.proxy import Proxy, proxies
from tui.chain.provider import Provider
from tui.config.paths import resolve_paths
from tui.model.intent import AttemptKind, Firing, Intent, IntentState
from tui.model.network import MarketConfig, Network
from tui.model.view import ViewState
from tui.ports.chain import ProviderStatus
from tui.practice.market import AaveVersion
from tui.practice.node import NodeProgram
from tui.practice.state import start_market
from tui.vault.keystore import MIN_PBKDF2_ROUNDS
from tui.wiring import Wired, assemble

PASSWORD = "nine proxies in a row"
GWEI = 10**9
RULE = """\
[[rule]]
name = "guard"
position = "{position}"
mode = "auto"
when = {{ health_factor_below = "1.25", for_blocks = 1 }}
target = {{ health_factor = "1.50" }}

{steps}

[rule.limits]
max_cost_usd = "200"
max_base_fee_gwei = "500"
daily_spend_usd = "{daily}"
cooldown = "{cooldown}"
{limits}"""
REPAY = '[[rule.step]]\naction = "repay"\nasset = "USDC"\nmax = "20000"'
"""One transaction: USDC has permits."""
ADD = '[[rule.step]]\naction = "add-collateral"\nasset = "WETH"\nmax = "10"'
"""Two transactions: WETH wants an approval first."""


def part_way(text: str) -> str:
    """Rules that may be armed though they do not reach their targets."""
    return re.sub(r"^position = .*$", r"\g<0>\npartial = true", text, flags=re.MULTILINE)


def rule_text(
    steps: str, *, position: str = "aave-v3/core", daily: str = "100000", cooldown: str = "0s", limits: str = ""
) -> str:
    """A rules file with the one rule of the rig; `limits` are more lines of that table."""
    return RULE.format(position=position, steps=steps, daily=daily, cooldown=cooldown, limits=limits)


@dataclass(frozen=True)
class World:
    """A node with a market on it and an opened position of `account`: 10 WETH against 18,000 USDC."""

    chain: Chain
    account: str
    keystore: Path
    others: Mapping[str, Path] = field(default_factory=dict)
    """Key files of other accounts, under the same password."""
    is_cold: bool = False
    """The key of `account` is nowhere here: others pay for it, or nobody."""


def open_world(program: NodeProgram, folders: dict[str, Path], cache: Path, directory: Path) -> Iterator[World]:
    """A node of its own, so that the position is opened once for many tests."""
    node, market = start_market(program, AaveVersion.V3_2, folders, cache)
    try:
        chain = Chain(node, market)
        address, key = keyed_account(70)
        keystore = directory / "faults.json"
        keystore.write_text(json.dumps(Account.encrypt(key, PASSWORD, "pbkdf2", MIN_PBKDF2_ROUNDS)))
        keystore.chmod(0o600)
        chain.set_ether(address, 10 * ETHER)
        chain.supply(address, "WETH", chain.units("WETH", 10))
        chain.borrow(address, "USDC", chain.units("USDC", 18_000))
        chain.give("USDC", chain.units("USDC", 2_000), address)
        chain.give("WETH", chain.units("WETH", 8), address)
        yield World(chain, address.lower(), keystore)
    finally:
        node.stop()


@dataclass
class FaultRig:
    """An engine, its providers and the hands to drive both."""

    chain: Chain
    account: str
    proxies: list[Proxy]
    clock: FakeClock
    wired: Wired
    network: Network
    paths: tuple[Path, Path]
    world: World
    rules: Path
    extra: list[Proxy] = field(default_factory=list)

    # --- the engine ------------------------------------------------------------------------------------------------

    async def head(self) -> bool:
        """Let the engine take the newest block; whether it saw a new one."""
        block = await self.wired.chain.heads.poll()
        if block is not None:
            await self.wired.engine.on_head(block)
        return block is not None

    async def mine(self, blocks: int = 1) -> None:
        """Blocks one after another, each taken by the engine; a block time passes with each."""
        for _ in range(blocks):
            self.chain.mine()
            self.clock.advance(2)
            await self.head()

    async def arm(self) -> None:
        await self.wired.commands.arm("guard", "guard", PASSWORD)

    async def fall(self, usd: str = "2600") -> None:
        """The price falls under the trigger, and the engine sees it."""
        self.chain.set_price("WETH", usd)
        self.clock.advance(2)
        await self.head()

    async def refuse_one_block(self) -> None:
        """Mine a block in which the pool refuses whatever it is asked."""
        with self.chain.code_as("0x60006000fd", self.chain.market.pool):
            self.chain.mine()
        self.clock.advance(2)
        await self.head()

    async def cancel(self) -> None:
        """A person wants the first transaction back."""
        executor = self.wired.engine.executor
        assert executor is not None
        await executor.cancel(self.intent.id)

    async def again(self) -> None:
        """The engine takes the same block once more."""
        snapshot = self.wired.engine.snapshot
        assert snapshot is not None
        await self.wired.engine.on_head(snapshot.block)

    async def settle(self, blocks: int = 8) -> Firing:
        """Mine until the newest firing has its end."""
        for _ in range(blocks):
            if not self.firing.state.is_open:
                break
            await self.mine()
        return self.firing

    async def restart(self) -> None:
        """End the engine and start another on the same state."""
        await self.wired.aclose()
        self.wired = _assemble(self.world, self.network, self.paths, self.rules, self.clock)
        await self.wired.engine.start()
        await self.head()

    async def restart_before_the_network(self) -> None:
        """The same on a machine that is up before its network, which comes half a minute later."""
        await self.wired.aclose()
        for proxy in self.proxies:
            proxy.down()
        self.wired = _assemble(self.world, self.network, self.paths, self.rules, self.clock)
        await self.wired.engine.start()
        for proxy in self.proxies:
            proxy.heal()
        self.clock.advance(30)

    async def power_fails(self, image: Path) -> None:
        """End the engine and put back its state directory as `image` holds it."""
        await self.wired.aclose()
        shutil.rmtree(self.paths[1])
        shutil.copytree(image, self.paths[1])

    @property
    def view(self) -> ViewState:
        return self.wired.engine.view

    @property
    def said(self) -> str:
        """All lines of the journal."""
        assert self.wired.journal is not None
        return "\n".join(line.text for line in self.wired.journal.decisions())

    @property
    def states(self) -> list[str]:
        """The state words of the providers."""
        return [status.state for status in self.statuses]

    @property
    def statuses(self) -> tuple[ProviderStatus, ...]:
        return self.wired.chain.reader.providers()

    @property
    def providers(self) -> tuple[Provider, ...]:
        return self.wired.chain.pool.providers

    # --- the record ------------------------------------------------------------------------------------------------

    @property
    def firings(self) -> tuple[Firing, ...]:
        assert self.wired.journal is not None
        return self.wired.journal.firings()

    @property
    def firing(self) -> Firing:
        """The newest firing."""
        return self.firings[0]

    @property
    def intent(self) -> Intent:
        """The first transaction of the newest firing."""
        return self.firing.intents[0]

    @property
    def intent_states(self) -> list[IntentState]:
        return [intent.state for intent in self.firing.intents]

    # --- the chain -------------------------------------------------------------------------------------------------

    def pooled(self) -> list[str]:
        """Hashes that wait at the node, of the account, by nonce."""
        content = self.chain.rpc("txpool_content")
        found = [
            (int(nonce), tx["hash"])
            for part in ("pending", "queued")
            for owner, txs in content[part].items()
            if owner.lower() == self.account
            for nonce, tx in txs.items()
        ]
        return [tx_hash for _, tx_hash in sorted(found)]

    def on_chain(self) -> list[dict[str, Any]]:
        """Every mined transaction of the account since the test began, by nonce."""
        numbers = range(self._first + 1, self.chain.block_number() + 1)
        blocks = [self.chain.rpc("eth_getBlockByNumber", hex(number), True) for number in numbers]
        mine = [tx for block in blocks for tx in block["transactions"] if tx["from"].lower() == self.account]
        return sorted(mine, key=lambda tx: int(tx["nonce"], 16))

    _first: int = 0

    def foreign(self, value: int = 1) -> str:
        """A transaction of the account from elsewhere, mined in place of what waits."""
        self.chain.rpc("anvil_dropAllTransactions")
        self.chain.rpc("anvil_impersonateAccount", self.account)
        sent = {"from": self.account, "to": "0x" + "ee" * 20, "value": hex(value), "gas": hex(21_000)}
        tx_hash = str(self.chain.rpc("eth_sendTransaction", sent))
        self.chain.rpc("anvil_stopImpersonatingAccount", self.account)
        self.chain.mine()
        return tx_hash

    def attempts(self) -> list[Sent]:
        """Everything that was ever signed, read from its bytes."""
        return [
            read_raw("0x" + attempt.raw.hex())
            for firing in self.firings
            for intent in firing.intents
            for attempt in intent.attempts
        ]

    def check(self) -> None:
        """What must hold whatever happened: one meaning a nonce, one firing an episode, the chain as the journal."""
        meanings: dict[int, set[tuple[str, int, bytes]]] = {}
        for firing in self.firings:
            for intent in firing.intents:
                for attempt in intent.attempts:
                    sent = read_raw("0x" + attempt.raw.hex())
                    assert (sent.hash, sent.sender, sent.nonce) == (attempt.hash, self.account, intent.nonce)
                    assert sent.cap <= intent.fee_ceiling
                    if attempt.kind is AttemptKind.CANCEL:
                        assert sent.meaning == (self.account, 0, b"")
                    else:
                        meanings.setdefault(sent.nonce, set()).add(sent.meaning)
        assert all(len(found) == 1 for found in meanings.values()), "a nonce with two meanings"
        assert len({(one.rule, one.episode) for one in self.firings}) == len(self.firings), "an episode fired twice"
        known = {sent.hash: sent for sent in self.attempts()}
        ours = [tx for tx in self.on_chain() if tx["hash"] in known]
        for tx in ours:
            sent = known[tx["hash"]]
            told = (tx["to"].lower(), int(tx["value"], 16), bytes.fromhex(tx["input"][2:]), int(tx["nonce"], 16))
            assert told == (*sent.meaning, sent.nonce)
        done = [i.included_hash for f in self.firings for i in f.intents if i.state is IntentState.FINAL_OK]
        assert set(done) <= {tx["hash"] for tx in ours}, "done in the journal, not on the chain"


def _assemble(world: World, network: Network, paths: tuple[Path, Path], rules: Path, clock: FakeClock) -> Wired:
    return assemble(
        network,
        resolve_paths(*paths),
        accounts=[world.account],
        rules_files=[rules],
        keystores={**({} if world.is_cold else {world.account: world.keystore}), **world.others},
        signing=True,
        clock=clock,
    )


OpenRig = Callable[..., Awaitable[FaultRig]]
"""Opens an armed rig with the options of `open_rig`."""


async def open_rig(
    stack: AsyncExitStack,
    world: World,
    directory: Path,
    *,
    providers: int = 1,
    quorum: int = 1,
    steps: str = REPAY,
    position: str = "aave-v3/core",
    daily: str = "100000",
    cooldown: str = "0s",
    limits: str = "",
    partial: bool = False,
    extra: int = 0,
    rpc_too: tuple[str, ...] = (),
    **network: Any,
) -> FaultRig:
    """An engine at its first head, unarmed. `extra` more proxies stand beside the network's own; the node mines when
    told. Closed with `stack`, and the chain put back.
    """
    chain = world.chain
    snapshot = chain.snapshot()
    stack.callback(chain.revert, snapshot)
    made = await stack.enter_async_context(proxies(chain.url, providers + extra))
    rules = directory / "rules.toml"
    text = rule_text(steps, position=position, daily=daily, cooldown=cooldown, limits=limits)
    rules.write_text(part_way(text) if partial else text)
    clock = FakeClock(time.time())
    configured = Network(
        name="faulty",
        chain_id=31337,
        block_time=2.0,
        confirmations=2,
        rpc=(*(proxy.url for proxy in made[:providers]), *rpc_too),
        quorum=quorum,
        native_usd_feed=chain.token("WETH").feed.lower(),
        markets=(MarketConfig("aave-v3", "core", {"pool_addresses_provider": chain.market.provider.lower()}),),
    )
    if "relay" in network and callable(network["relay"]):
        network["relay"] = network["relay"](made[providers].url)
    configured = replace(configured, **network)
    paths = (directory / "config", directory / "state")
    rig = FaultRig(
        chain,
        world.account,
        made[:providers],
        clock,
        _assemble(world, configured, paths, rules, clock),
        configured,
        paths,
        world,
        rules,
        made[providers:],
    )
    rig._first = chain.block_number()

    async def close() -> None:
        await rig.wired.aclose()

    stack.push_async_callback(close)
    chain.set_automine(False)
    await rig.wired.engine.start()
    await rig.head()
    return rig
