"""A second account swaps a token of its own to repay a cold position: keystore, signer, journal, router, pool.

The position's key is nowhere here. Health falls from 1.38 to 1.05 in one block; the payer holds 8 WETH, and 2,000 USDC
that are not to go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fault_rig import FaultRig, World, open_rig
from tests.support.on_exchange import (
    SWAP,
    Open,
    allowed,
    exchange_of,
    fall,
    on_target,
    plan_of,
    pools_fall_first,
    wallet,
)
from tests.support.payer import HOT, fund, write_keystore
from tests.support.positions import follow
from tui.model.intent import FiringState, IntentState
from tui.model.plan import Sale
from tui.model.signing import SignerRefused, TransactionRequest
from tui.model.units import WAD
from tui.protocols.erc20 import address_word, word
from tui.quotes.router02 import EXACT_INPUT_SINGLE, MULTICALL, within

pytestmark = pytest.mark.node

PAID = f'{SWAP.format("2%")}wallet = "{HOT}"\n'
WITHDRAW, BORROW = bytes.fromhex("69328dec"), bytes.fromhex("a415bcad")
"""withdraw(address,uint256,address), borrow(address,uint256,uint256,uint16,address)"""
REPAY, APPROVE = bytes.fromhex("573ade81"), bytes.fromhex("095ea7b3")
"""repay(address,uint256,uint256,address), approve(address,uint256)"""
TRANSFER, DEPOSIT = bytes.fromhex("a9059cbb"), bytes.fromhex("d0e30db0")
"""transfer(address,uint256), deposit()"""


@pytest.fixture(scope="module")
def world(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The key of the account that pays is here, that of the position is not."""
    return replace(world, others={HOT: write_keystore(tmp_path_factory.mktemp("hot"))}, is_cold=True)


@pytest.fixture
async def paying(world: World, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens an armed engine whose rule names the position; `weth` and `usdc` are what the payer has."""
    async with AsyncExitStack() as stack:

        async def make(steps: str = PAID, *, weth: str = "8", usdc: int = 2_000) -> FaultRig:
            position = f"aave-v3/core/{world.account}"
            rig = await open_rig(stack, world, tmp_path, steps=steps, position=position, **exchange_of(world.chain))
            fund(world.chain, usdc, weth)
            await rig.mine()
            await rig.arm()
            return rig

        yield make


def nonce(rig: FaultRig, account: str) -> int:
    return int(rig.chain.rpc("eth_getTransactionCount", account, "latest"), 16)


def assert_booked(rig: FaultRig, sale: Sale) -> None:
    """What `journal --outcomes` reads: what the payer sold is known, and beside what was expected."""
    assert rig.wired.journal is not None
    found = rig.wired.journal.outcome(rig.firing.id)
    assert found is not None
    assert [(one.symbol, one.expected, one.actual) for one in found.sales] == [("WETH", sale.sold, sale.sold)]
    assert sale.swap is not None
    (bought,) = found.buys
    assert (bought.symbol, bought.expected) == ("USDC", sale.swap.least_out + sale.surplus)
    assert bought.actual is not None
    assert abs(bought.actual - sale.swap.least_out - sale.surplus) <= sale.swap.least_out // 100_000
    assert found.slippage_actual is not None
    assert found.slippage_expected is not None
    assert abs(found.slippage_actual - found.slippage_expected) < WAD // 100_000


async def test_from_105_to_150_by_a_token_of_the_payer(paying: Open) -> None:
    rig = await paying()
    chain = rig.chain
    mine, theirs, owners_nonce = wallet(rig), wallet(rig, HOT), nonce(rig, rig.account)
    debt = chain.account_data(rig.account)[1]
    await fall(rig)
    assert 1049 * WAD // 1000 < chain.health_factor(rig.account) < 1051 * WAD // 1000
    plan = plan_of(rig)
    assert plan.reaches_target
    (step,) = plan.steps
    sale = step.action.sale
    assert sale is not None
    assert sale.swap is not None
    assert step.action.payer == HOT
    assert {call.sender for call in plan.calls} == {HOT}
    assert within(plan.calls[1].data)[:4] == EXACT_INPUT_SINGLE
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    assert [(one.account, one.state) for one in rig.firing.intents] == [(HOT, IntentState.FINAL_OK)] * 3
    on_target(rig)
    after = wallet(rig, HOT)
    assert theirs["WETH"] - after["WETH"] == sale.sold
    assert 0 <= after["USDC"] - theirs["USDC"] <= 2 * sale.surplus
    assert {one: after[one] for one in after if one not in ("WETH", "USDC")} == {
        one: theirs[one] for one in theirs if one not in ("WETH", "USDC")
    }
    assert chain.account_data(rig.account)[1] < debt
    assert chain.account_data(HOT)[:2] == (0, 0), "it has no position of its own"
    assert wallet(rig) == mine, "what the cold account holds is not touched"
    assert nonce(rig, rig.account) == owners_nonce, "the cold account signed nothing"
    assert allowed(rig, HOT) == {}
    assert allowed(rig) == {}
    assert_booked(rig, sale)


async def test_the_payer_wraps_what_it_lacks_of_what_it_swaps(paying: Open) -> None:
    rig = await paying(weth="0.25")
    before = int(rig.chain.rpc("eth_getBalance", HOT, "latest"), 16)
    usdc = rig.chain.balance("USDC", HOT)
    await fall(rig)
    plan = plan_of(rig)
    (step,) = plan.steps
    sale = step.action.sale
    assert sale is not None
    assert step.action.wrap == sale.sold - WAD // 4
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    assert [one.words.split()[0] for one in rig.firing.intents][:3] == ["Wrap", "Let", "Swap"]
    assert {one.account for one in rig.firing.intents} == {HOT}
    on_target(rig)
    assert rig.chain.balance("WETH", HOT) == 0
    assert 0 <= rig.chain.balance("USDC", HOT) - usdc <= 2 * sale.surplus
    gas = sum(one.gas_paid_wei or 0 for one in rig.firing.intents)
    assert before - int(rig.chain.rpc("eth_getBalance", HOT, "latest"), 16) == step.action.wrap + gas
    assert allowed(rig, HOT) == {}
    assert_booked(rig, sale)


async def test_the_paying_key_swaps_and_repays_within_its_rule_and_signs_nothing_else(paying: Open) -> None:
    rig = await paying(f'{PAID}max = "3"\n')
    chain, signer = rig.chain, rig.wired.signer
    assert signer is not None
    status = await signer.status()
    assert status["unlocked"] == [HOT]
    assert [one["account"] for one in status["policies"]] == [HOT]
    pool, router = chain.market.pool.lower(), chain.market.router02.lower()
    weth, usdc = (chain.token(name).address.lower() for name in ("WETH", "USDC"))

    def swap(sold: str = weth, bought: str = usdc, whom: str = HOT, amount: int = WAD) -> bytes:
        words = address_word(sold), address_word(bought), word(500), address_word(whom), word(amount), word(1), word(0)
        call = EXACT_INPUT_SINGLE + b"".join(words)
        head = b"".join(word(one) for one in (2**40, 64, 1, 60))
        return MULTICALL + head + bytes(28) + word(len(call)) + call + bytes(32)

    def repay(whom: str) -> bytes:
        return REPAY + address_word(usdc) + word(10**6) + word(2) + address_word(whom)

    stranger = "0x" + "ab" * 20
    wrong = [
        (pool, WITHDRAW + address_word(weth) + word(1) + address_word(HOT)),
        (pool, WITHDRAW + address_word(weth) + word(1) + address_word(rig.account)),
        (pool, BORROW + address_word(usdc) + word(1) + word(2) + word(0) + address_word(rig.account)),
        (pool, repay(HOT)),
        (pool, repay(stranger)),
        (router, swap(whom=rig.account)),
        (router, swap(whom=stranger)),
        (router, swap(sold=usdc, bought=weth)),
        (router, swap(amount=3 * WAD + 1)),
        (pool, swap()),
        (weth, APPROVE + address_word(stranger) + word(1)),
        (weth, APPROVE + address_word(router) + word(3 * WAD + 1)),
        (weth, TRANSFER + address_word(rig.account) + word(1)),
        (usdc, TRANSFER + address_word(rig.account) + word(1)),
        (rig.account, b""),
    ]
    asked = TransactionRequest("i", 31337, HOT, 0, pool, 0, b"", 300_000, 10**10, 10**9)
    for number, (to, data) in enumerate(wrong):
        with pytest.raises(SignerRefused):
            await signer.sign_transaction(replace(asked, intent_id=f"i{number}", to=to, data=data))
    too_much = replace(asked, intent_id="w", to=weth, data=DEPOSIT, value=3 * WAD + 1)
    with pytest.raises(SignerRefused):
        await signer.sign_transaction(too_much)
    with pytest.raises(SignerRefused, match="not unlocked"):
        await signer.sign_transaction(replace(asked, intent_id="o", account=rig.account, data=repay(rig.account)))
    right = [(pool, repay(rig.account)), (router, swap())]
    for number, (to, data) in enumerate(right):
        request = replace(asked, intent_id=f"r{number}", nonce=number, to=to, data=data)
        assert await signer.sign_transaction(request)


async def test_a_swap_that_reverts_takes_nothing_of_the_payer_and_is_planned_anew(paying: Open) -> None:
    """Nothing of the debt token is in the payer's hand, so the repayment behind the swap reverts with it."""
    rig = await paying(PAID.replace("2%", "0.6%"), usdc=0)
    chain = rig.chain
    await fall(rig)
    assert [len(one.attempts) for one in rig.firing.intents] == [1, 1, 1]
    before, health = wallet(rig, HOT), chain.health_factor(rig.account)
    pools_fall_first(rig, 10_000)
    await rig.mine(4)
    first = rig.firings[-1]
    assert first.state is FiringState.FAILED
    assert [one.state for one in first.intents] == [
        IntentState.FINAL_OK, IntentState.FINAL_REVERTED, IntentState.FINAL_REVERTED,
    ]  # fmt: skip
    assert wallet(rig, HOT) == before
    assert abs(chain.health_factor(rig.account) - health) < WAD // 10**6, "but for interest"
    follow(chain)
    await rig.mine(2)
    assert len(rig.firings) == 2
    assert (await rig.settle()).state is FiringState.DONE, rig.said
    on_target(rig)
    assert allowed(rig, HOT) == {}
