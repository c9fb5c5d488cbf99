"""kill -9 of `trimtab run`: real process, signer, keystore, journal and node; a market that asks for a defence again
and again.

Somebody with a delegation borrows in the account's name, so that each fall is made without a nonce of its own.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from tests.soak.bare_core import Tally
from tests.support.chain import ETHER
from tests.support.fault_rig import World, open_world
from tests.support.mortal import Mortal, Point, journal_point, open_mortal, signer_point
from tests.support.pool_rules import read_raw
from tests.support.program import Program
from tests.support.proxy import Row, Told
from tui.model.intent import AttemptKind
from tui.model.units import WAD
from tui.practice.artifacts import fetch
from tui.practice.market import VARIABLE_RATE
from tui.practice.node import NodeKind, find_program
from tui.practice.packages import AAVE_V30, CONTRACTS
from tui.practice.tokens import MAX_UINT256

WAIT = 0.25
"""Seconds between two blocks."""
QUIET_BLOCKS = 2
"""Blocks seen by one engine after the last defence before the next fall: it has read that all is well."""
LONGEST = 12.0
"""Seconds after which a life is killed that did not die before."""
LAST_BLOCKS = 120
FALLEN = WAD * 12 // 10
RECOVERED = WAD * 14 // 10

_POINTS = (
    ("open_firing", 1),
    ("save_firing", 4),
    ("reserve", 1),
    ("begin_signing", 1),
    ("bind_data", 1),
    ("record_attempts", 1),
    ("save_intents", 4),
    ("record_answer", 3),
    ("record_decision", 8),
    ("save_rule_state", 4),
    ("_insert", 20),
    ("_update", 12),
)


@dataclass
class Market:
    """The hands of whoever makes the account fall."""

    mortal: Mortal
    helper: str
    falls: int = 0

    def __post_init__(self) -> None:
        chain, pool, owner = self.mortal.chain, self.mortal.chain.market.pool, self.mortal.world.account
        usdc = chain.token("USDC").address
        fields = ["uint256"] * 8 + ["address"] * 4 + ["uint256"] * 3
        debt = chain.call(pool, "getReserveData(address)", fields, usdc)[10]
        chain.send(owner, debt, "approveDelegation(address,uint256)", self.helper, MAX_UINT256)

    def health(self) -> int:
        found: int = self.mortal.chain.health_factor(self.mortal.world.account)
        return found

    def fall(self) -> None:
        """Borrow in the account's name until its health is 1.2, and hand it the money."""
        chain, owner = self.mortal.chain, self.mortal.world.account
        _, debt, _, _, _, health = chain.account_data(owner)
        amount = debt * (health - FALLEN) // FALLEN // 100
        usdc = chain.token("USDC").address
        signature = "borrow(address,uint256,uint256,uint16,address)"
        chain.send(self.helper, chain.market.pool, signature, usdc, amount, VARIABLE_RATE, 0, owner)
        chain.send(self.helper, usdc, "transfer(address,uint256)", owner, amount)
        self.falls += 1


@dataclass
class Driver:
    """Lets lives begin and end."""

    market: Market
    chance: random.Random
    tally: Tally
    longest: float = LONGEST

    @property
    def mortal(self) -> Mortal:
        return self.market.mortal

    async def life_and_death(self) -> None:
        """One life, killed somehow."""
        how = self.chance.choice(("point", "request", "moment"))
        prelude = self._point().prelude() if how == "point" else ""
        seconds = self.chance.uniform(0, 3) if how == "moment" else self.longest
        started = how != "moment" or self.chance.random() < 0.3
        async with self.mortal.life(prelude, armed=not started) as program:
            fault = self._request(program) if how == "request" else None
            try:
                async with asyncio.timeout(seconds):
                    await self.drive(program)
            except TimeoutError:
                how = "moment"
                program.process.kill()
            if fault is not None:
                fault.lift()
            code = await program.ended()
        self.tally.lives += 1
        if code == -signal.SIGKILL:
            self.tally.kills += 1
            self.tally.how[how] += 1
        else:
            self.tally.faults.append(f"a life ended with {code}: {program.text[-500:]}")

    def _point(self) -> Point:
        late = self.chance.random() < 0.5
        roll = self.chance.random()
        if roll < 0.2:
            return signer_point(1, late=late)
        if roll < 0.3:
            return Point("tui.chain.broadcast", "ChainBroadcaster", "send", self.chance.randint(1, 3), late)
        name, most = self.chance.choice(_POINTS)
        return journal_point(name, self.chance.randint(1, most), late=late)

    def _request(self, program: Program) -> Told:
        """It dies when so many requests have come to the node, before the node sees the last one or after."""
        left = self.chance.randint(1, self.chance.choice([40, 250]))
        late = self.chance.random() < 0.5

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0 and program.process.returncode is None:
                program.process.kill()

        def before(params: list[Any]) -> None:
            if not late:
                count()

        def after(params: list[Any], row: Row) -> Row:
            if late:
                count()
            return row

        fault = Told(frozenset(), None, instead=before, change=after)
        self.mortal.proxy.add(fault)
        return fault

    async def drive(self, program: Program, falls: bool = True) -> None:
        """Blocks, and a fall whenever all was well for some; until it is dead."""
        quiet_since: int | None = None
        while program.process.returncode is None:
            self.mortal.chain.mine()
            await asyncio.wait((asyncio.ensure_future(program.process.wait()),), timeout=WAIT)
            seen = program.text.count('"event": "block"')
            if not self.is_well():
                quiet_since = None
            elif quiet_since is None:
                quiet_since = seen
            elif seen - quiet_since >= QUIET_BLOCKS and falls:
                self.market.fall()
                quiet_since = None

    def is_well(self) -> bool:
        """Every fall was answered, and nothing is under way."""
        return self.market.health() > RECOVERED and len(self.mortal.done()) == self.market.falls

    async def last_life(self) -> None:
        """One that nobody kills, until all is well."""
        async with self.mortal.life() as program:
            for _ in range(LAST_BLOCKS):
                if self.is_well():
                    break
                if not await self.mortal.seen(program):
                    break
            await program.stop()
        self.tally.lives += 1

    def look_through(self) -> None:
        """Hold record, signer's ledger, chain and every byte that left against each other."""
        tally, mortal = self.tally, self.mortal
        intents = mortal.intents()
        tally.firings = len(mortal.firings())
        tally.intents = len(intents)
        tally.sends = len(mortal.sent())
        kinds = [attempt.kind for intent in intents for attempt in intent.attempts]
        tally.signatures = mortal.signatures()
        tally.raised = kinds.count(AttemptKind.BUMP)
        tally.no_ops = kinds.count(AttemptKind.CANCEL)
        meanings = {nonce: set(found) for nonce, found in mortal.signed_for().items()}
        for intent in intents:
            raws = {read_raw("0x" + attempt.raw.hex()).meaning for attempt in intent.attempts}
            tally.payloads = max(tally.payloads, len(raws))
        tally.payloads = max(tally.payloads, *map(len, meanings.values()), 0)
        mined = len(mortal.mined())
        tally.double = sum(len(found) > 1 for found in meanings.values()) + max(0, mined - self.market.falls)
        tally.lost = max(0, self.market.falls - mined) + mortal.open()
        if mined != self.market.falls:
            tally.faults.append(f"{self.market.falls} falls, {mined} transactions")
        try:
            mortal.check()
        except AssertionError as error:
            tally.faults.append(f"the record is not the chain: {error}")


@contextmanager
def _world(folder: Path) -> Iterator[World]:
    cache = platformdirs.user_cache_path("trimtab") / "practice"
    folders = fetch((CONTRACTS, AAVE_V30), cache)
    opening = open_world(find_program(NodeKind.ANVIL, cache), folders, cache, folder)
    try:
        yield next(opening)
    finally:
        opening.close()  # type: ignore[attr-defined]


async def kill_again_and_again(
    world: World, folder: Path, kills: int, seed: int, *, longest: float = LONGEST, tell: bool = False
) -> Tally:
    """`kills` lives on one state directory, one that comes to its end, and a look through everything."""
    tally = Tally()
    async with AsyncExitStack() as stack:
        mortal = await open_mortal(stack, world, folder, daily="100000000")
        chain = mortal.chain
        chain.set_ether(world.account, 1_000 * ETHER)
        chain.give("USDC", chain.units("USDC", 20_000), world.account)
        market = Market(mortal, chain.new_account())
        mortal.first = chain.block_number()
        market.fall()
        driver = Driver(market, random.Random(seed), tally, longest)
        while tally.kills < kills and len(tally.faults) < 5:
            await driver.life_and_death()
            if tell and tally.kills % 10 == 0:
                told = f"  seed {seed}: {tally.kills} kills, {market.falls} falls, {len(mortal.mined())} transactions"
                print(told, file=sys.stderr, flush=True)
        await driver.last_life()
        driver.look_through()
    return tally


async def soak(kills: int, seed: int) -> Tally:
    """The whole soak with a node of its own."""
    with tempfile.TemporaryDirectory(prefix="trimtab-kills-") as name, _world(Path(name)) as world:
        return await kill_again_and_again(world, Path(name), kills, seed, tell=True)
