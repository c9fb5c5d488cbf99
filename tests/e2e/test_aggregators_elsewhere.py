"""Calls of aggregators for the swap of a round, and for swaps that another account pays: the whole engine, a service on
loopback, contracts that speak as 0x's and 1inch's do. The same lies as for own swaps, refused in the same way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from decimal import Decimal
from itertools import cycle
from pathlib import Path

import pytest

from tests.support.aggregated import KINDS, LIES, SELECTOR, THIEF, OpenScene, Scene, open_scene
from tests.support.aggregators import PPM
from tests.support.chain import keyed_account
from tests.support.fault_rig import World
from tests.support.on_exchange import SELL, SWAP, TARGET, health, wallet
from tests.support.payer import HOT, fund, write_keystore
from tui.model.intent import FiringState, Intent
from tui.model.rounds import FLOOR
from tui.model.signing import SignerRefused, TransactionRequest
from tui.model.units import WAD
from tui.protocols.erc20 import word

pytestmark = [pytest.mark.node, pytest.mark.timeout(240)]

ROUND = f'{SELL.format("2%")}rounds = "always"\n'
PAID = f'{SWAP.format("2%")}wallet = "{HOT}"\n'


@pytest.fixture(scope="module")
def world(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The keys of the position's account and of one that pays are here."""
    return replace(world, others={HOT: write_keystore(tmp_path_factory.mktemp("hot"))})


@pytest.fixture
async def in_rounds(world: World, tmp_path: Path) -> AsyncIterator[OpenScene]:
    """Opens an engine armed with a deleverage that goes in rounds."""
    async with AsyncExitStack() as stack:

        async def make(kind: str) -> Scene:
            return await open_scene(stack, world, tmp_path, kind, ROUND)

        yield make


@pytest.fixture
async def paid(world: World, tmp_path: Path) -> AsyncIterator[OpenScene]:
    """Opens an engine armed with a swap that another account makes and pays: it has 8 WETH and 2,000 USDC."""
    async with AsyncExitStack() as stack:

        async def make(kind: str) -> Scene:
            position = f"aave-v3/core/{world.account}"
            at = await open_scene(stack, world, tmp_path, kind, PAID, arm=False, position=position)
            fund(world.chain, 2_000, weth=8)
            await at.rig.mine()
            await at.rig.arm()
            return replace(at, account=HOT, key=keyed_account(8)[1])

        yield make


def foreign(at: Scene, kind: str) -> list[Intent]:
    """The transactions of all firings that call the aggregator."""
    intents = [intent for firing in at.rig.firings for intent in firing.intents]
    return [one for one in intents if (one.to, one.data[:4]) == (at.contracts.router, SELECTOR[kind])]


# --- rounds ----------------------------------------------------------------------------------------------------------


async def test_every_round_goes_by_the_better_call_to_the_target(in_rounds: OpenScene, kind: str) -> None:
    at = await in_rounds(kind)
    rig = at.rig
    before = wallet(rig)
    await at.fall(ppm=PPM + 5_000, usd=Decimal("2450"))  # a health of 1.13, from which it is four rounds
    assert at.sale.venue == kind
    assert at.sale.withdrawn == at.sale.sold
    assert at.plan.rounds is not None
    assert at.plan.rounds.lowest >= FLOOR
    assert "on Uniswap V3" in at.ways
    for _ in range(120):
        if health(rig) >= TARGET and not rig.firing.state.is_open:
            break
        await rig.mine()
    await rig.mine(3)
    # What came out beyond what was ordered is in the wallet, or was repaid by a later round.
    assert TARGET <= health(rig) <= TARGET * 1_004 // 1_000
    assert {one.state for one in rig.firings} == {FiringState.DONE}
    assert len(foreign(at, kind)) == len(rig.firings) >= 3
    after = wallet(rig)
    assert after["WETH"] == before["WETH"]
    assert before["USDC"] <= after["USDC"] < before["USDC"] + 30 * 10**6
    assert at.allowed() == {}
    rig.check()


@pytest.mark.parametrize(("kind", "lie"), zip(cycle(KINDS), LIES), ids=lambda one: getattr(one, "__name__", one))
async def test_a_round_goes_by_no_call_that_does_another_thing(
    in_rounds: OpenScene, kind: str, lie: Callable[[Scene], None]
) -> None:
    at = await in_rounds(kind)
    stolen = {symbol: at.chain.balance(symbol, THIEF) for symbol in at.chain.market.tokens}
    await at.lied(lie)
    await at.rig.mine(3)
    assert at.rig.firings[-1].state is FiringState.DONE
    assert foreign(at, kind) == []
    assert {symbol: at.chain.balance(symbol, THIEF) for symbol in stolen} == stolen


# --- another account that pays ---------------------------------------------------------------------------------------


async def test_what_another_account_swaps_goes_by_the_better_call(paid: OpenScene, kind: str) -> None:
    at = await paid(kind)
    rig = at.rig
    before, own = wallet(rig, HOT), wallet(rig)
    await at.fall(ppm=PPM + 5_000)
    assert at.sale.venue == kind
    assert {call.sender for call in at.plan.calls} == {HOT}
    assert "on Uniswap V3" in at.ways
    sold, repaid = at.sale.sold, at.plan.steps[0].action.amount
    assert (await rig.settle()).state is FiringState.DONE
    assert TARGET <= health(rig) <= TARGET * 1_001 // 1_000
    (swap,) = foreign(at, kind)
    assert swap.account == HOT
    after = wallet(rig, HOT)
    assert before["WETH"] - after["WETH"] == sold
    assert sold < repaid * 10**12 * 10**8 // at.chain.price("WETH") * 997 // 1_000
    assert 0 <= after["USDC"] - before["USDC"] <= repaid * 2 // 1_000
    assert wallet(rig) == own
    assert at.allowed() == {}
    assert at.service.asked[0].query["taker" if kind == "0x" else "from"].lower() == HOT


@pytest.mark.parametrize(("kind", "lie"), zip(cycle(KINDS[::-1]), LIES), ids=lambda one: getattr(one, "__name__", one))
async def test_another_account_goes_by_no_call_that_does_another_thing(
    paid: OpenScene, kind: str, lie: Callable[[Scene], None]
) -> None:
    at = await paid(kind)
    await at.lied(lie)
    assert (await at.rig.settle()).state is FiringState.DONE
    assert TARGET <= health(at.rig) <= TARGET * 1_001 // 1_000
    assert foreign(at, kind) == []
    assert at.allowed() == {}


def changed(data: bytes, at: int, value: int) -> bytes:
    """Calldata with 32 bytes of it, from `at`, replaced."""
    return data[:at] + word(value) + data[at + 32 :]


WORDS = {
    # What each call says, by where it stands: the token that is sold, the one that is bought, the receiver, the amount.
    "1inch": {"sold": 36, "bought": 68, "receiver": 132, "amount": 164},
    "0x": {"sold": 36, "bought": 4 + 32 * 6 + 36, "receiver": 4 + 32 * 6 + 4, "amount": 68},
}


@pytest.mark.parametrize("who", ["rounds", "payer"])
async def test_the_signer_signs_no_such_call_with_another_word(
    in_rounds: OpenScene, paid: OpenScene, kind: str, who: str
) -> None:
    at = await (in_rounds if who == "rounds" else paid)(kind)
    rules = at.rig.rules
    rules.write_text(rules.read_text().replace('max_slippage = "2%"', 'max_slippage = "2%"\nmax = "6"'))
    await at.rig.mine()
    await at.rig.arm()
    await at.fall(ppm=PPM + 5_000)
    (call,) = [one for one in at.plan.calls if one.selector == SELECTOR[kind]]
    signer = at.rig.wired.signer
    assert signer is not None
    fees = at.plan.fees
    asked = TransactionRequest(
        "x" * 16, at.chain.market.chain_id, at.account, 4_000, call.to, 0, call.data, 900_000, fees.max_fee,
        fees.priority_fee,
    )  # fmt: skip
    for said, place in WORDS[kind].items():
        other = changed(call.data, place, 6 * WAD + 1 if said == "amount" else int(THIEF, 16))
        with pytest.raises(SignerRefused, match=r"word \d+ is"):
            await signer.sign_transaction(replace(asked, data=other))
    signed = await signer.sign_transaction(asked)
    assert signed.raw


async def test_both_accounts_policies_know_the_call_and_to_whom_it_pays(paid: OpenScene, kind: str) -> None:
    at = await paid(kind)
    policies = at.rig.wired.engine.armory.policies
    (call,) = [one for one in policies[HOT].calls if one.selector == "0x" + SELECTOR[kind].hex()]
    assert call.to == at.contracts.router
    assert call.spend_token == at.chain.token("WETH").address.lower()
    assert at.rig.account not in policies or not policies[at.rig.account].calls


async def test_where_the_pools_are_too_dear_a_round_goes_by_it_all_the_same(in_rounds: OpenScene, kind: str) -> None:
    at = await in_rounds(kind)
    await at.fall(ppm=PPM, below=40_000)
    assert at.sale.venue == kind
    assert at.plan.rounds is not None
    assert at.plan.rounds.lowest >= FLOOR
    await at.rig.mine(3)
    assert at.rig.firings[-1].state is FiringState.DONE
    assert foreign(at, kind)
