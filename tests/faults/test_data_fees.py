"""What a rollup charges for data, on a real node: counted where its oracle tells it, unknown where it fails or lies."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.support.fault_rig import ADD, FaultRig, OpenRig
from tui.headless.as_json import plan_json
from tui.model.data_fee import ENVELOPE_BYTES, MOST_DATA_FEE, DataFees
from tui.model.intent import FiringState, Intent
from tui.model.plan import Plan, Refusal
from tui.model.units import WAD
from tui.model.view import Protection
from tui.protocols.op_stack import L1_FEE, L1_FEE_UPPER_BOUND, SENT_SIZES, SIZES

pytestmark = pytest.mark.node

ORACLE = "0x420000000000000000000000000000000000000f"
BASE, PER_BYTE = 10**13, 10**12
REVERTING = "0x60006000fd"
CAPPED = 'max_cost_usd = "200"\n'


def linear_code(selector: bytes, argument: int) -> str:
    """Runtime code that answers BASE and PER_BYTE for each of so many bytes as a word of its calldata says, to one
    selector alone; all else it refuses.
    """
    answer = f"60{argument:02x}3567{PER_BYTE:016x}0267{BASE:016x}0160005260206000f3"
    return f"0x60003560e01c63{selector.hex()}14601457{REVERTING[2:]}5b{answer}"


FJORD = linear_code(L1_FEE_UPPER_BOUND, 4)
ECOTONE = linear_code(L1_FEE, 36)


def constant_code(value: int) -> str:
    return f"0x7f{value:064x}60005260206000f3"


def fee_of(plan: Plan) -> int:
    """What such an oracle says that a plan's transactions cost; the chord of a line is the line."""
    sizes = [max(ENVELOPE_BYTES + len(call.data), SIZES[0]) for call in plan.calls]
    return sum(BASE + PER_BYTE * size for size in sizes)


async def opened(open_faulty: OpenRig, code: str, limits: str = CAPPED, **options: Any) -> FaultRig:
    """A rig whose network names an oracle with this code."""
    rig = await open_faulty(l1_fee_oracle=ORACLE, **options)
    rig.chain.rpc("anvil_setCode", ORACLE, code)
    if limits != CAPPED:
        rig.rules.write_text(rig.rules.read_text().replace(CAPPED, limits))
        await rig.mine()
        await rig.arm()
    await rig.mine()
    return rig


async def planned(rig: FaultRig) -> Plan | Refusal:
    """What the rule would do at the newest block, simulated."""
    engine = rig.wired.engine
    assert engine.snapshot is not None
    assert engine.fees is not None
    (rule,) = engine.book.rules
    (position,) = engine.snapshot.positions
    return await engine.prospect.simulated_plan(rule, position, engine.snapshot, engine.fees)


def paid(intent: Intent) -> int:
    assert intent.gas_paid_wei is not None
    return intent.gas_paid_wei


@pytest.mark.parametrize(("code", "sizes"), [(FJORD, SIZES), (ECOTONE, SENT_SIZES)], ids=["fjord", "before"])
async def test_every_transaction_of_a_plan_is_charged_for_its_bytes(
    open_faulty: OpenRig, code: str, sizes: tuple[int, ...]
) -> None:
    rig = await opened(open_faulty, code, steps=ADD)
    snapshot = rig.wired.engine.snapshot
    assert snapshot is not None
    assert snapshot.data_fees == DataFees(tuple((size, BASE + PER_BYTE * size) for size in sizes))
    rig.chain.set_price("WETH", "2600")
    block = await rig.wired.chain.heads.poll()
    assert block is not None
    rig.wired.engine.snapshot = await rig.wired.engine.watch.snapshot(block)
    plan = await planned(rig)
    assert isinstance(plan, Plan)
    assert len(plan.calls) == 2
    cost = plan.cost
    assert cost.l1_fee_wei == fee_of(plan) > 2 * (BASE + PER_BYTE * SIZES[0] - 1)
    assert cost.gas_wei == cost.gas_units * (plan.fees.base_fee + plan.fees.priority_fee) + fee_of(plan)
    assert cost.l1_data_usd == fee_of(plan) * 2_600 * 10**8 // WAD
    assert cost.gas_usd is not None
    assert cost.gas_usd > cost.l1_data_usd
    told: Any = plan_json(plan)["cost_usd"]
    assert Decimal(told["l1_data"]).quantize(Decimal("0.01")) == Decimal(cost.l1_data_usd).scaleb(-8).quantize(
        Decimal("0.01")
    )


async def test_a_block_stays_one_call_and_a_firing_asks_no_more_for_it(open_faulty: OpenRig) -> None:
    plain = await open_faulty()
    asked = plain.proxies[0].count("eth_call")
    await plain.mine(3)
    a_block = (plain.proxies[0].count("eth_call") - asked) // 3
    await plain.wired.aclose()
    rig = await opened(open_faulty, FJORD)
    asked = rig.proxies[0].count("eth_call")
    await rig.mine(3)
    assert rig.proxies[0].count("eth_call") - asked == 3 * a_block == 3
    await rig.fall()
    assert rig.firing.state is FiringState.RUNNING
    assert rig.proxies[0].count("eth_call") - asked == 4


@pytest.mark.parametrize(
    "code",
    [REVERTING, "0xfe", constant_code(2**255), "0x60016000f3"],
    ids=["reverts", "burns-all-gas", "lies", "a-byte"],
)
async def test_a_limit_on_cost_holds_back_where_the_fee_is_unknown(open_faulty: OpenRig, code: str) -> None:
    rig = await opened(open_faulty, code)
    await rig.fall()
    await rig.mine()
    assert rig.attempts() == []
    assert "what layer 1 charges for its data is not known: l1_fee_oracle" in rig.said
    refusal = await planned(rig)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "cost-unknown"
    assert rig.view.protection is Protection.ARMED
    rig.chain.rpc("anvil_setCode", ORACLE, FJORD)
    await rig.mine(2)
    assert rig.firing.state is not FiringState.DROPPED
    assert (await rig.settle()).state is FiringState.DONE


async def test_without_a_limit_it_acts_and_says_that_the_cost_is_unknown(open_faulty: OpenRig) -> None:
    rig = await opened(open_faulty, REVERTING, limits="")
    rig.chain.set_price("WETH", "2600")
    block = await rig.wired.chain.heads.poll()
    assert block is not None
    rig.wired.engine.snapshot = await rig.wired.engine.watch.snapshot(block)
    plan = await planned(rig)
    assert isinstance(plan, Plan)
    assert (plan.cost.l1_fee_wei, plan.cost.l1_data_usd, plan.cost.gas_usd, plan.cost.total_usd) == (None,) * 4
    assert plan_json(plan)["cost_usd"] == {"gas": None, "swap": "0.0000", "total": None, "l1_data": None}
    await rig.wired.engine.on_head(block)
    assert (await rig.settle()).state is FiringState.DONE


async def test_a_share_of_the_loss_gives_way_in_an_emergency(open_faulty: OpenRig) -> None:
    rig = await opened(open_faulty, REVERTING, limits='max_cost_share = "50%"\n')
    await rig.fall("2400")
    await rig.mine()
    assert rig.attempts() == []
    assert "until the health factor is under 1.05" in rig.said
    await rig.fall("2250")
    assert (await rig.settle()).state is FiringState.DONE


async def test_an_account_that_cannot_pay_for_data_is_told_before(open_faulty: OpenRig) -> None:
    rig = await opened(open_faulty, constant_code(WAD), limits="")
    rig.chain.set_ether(rig.account, WAD // 2)
    await rig.fall()
    await rig.mine()
    assert rig.attempts() == []
    refusal = await planned(rig)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "no-gas"


async def test_what_was_taken_for_data_is_in_the_record(open_faulty: OpenRig) -> None:
    rig = await opened(open_faulty, FJORD)
    rig.proxies[0].lie("eth_getTransactionReceipt", lambda _, told: told and {**told, "l1Fee": hex(7 * 10**14)})
    await rig.fall()
    firing = await rig.settle()
    assert firing.state is FiringState.DONE
    receipt = rig.chain.rpc("eth_getTransactionReceipt", rig.intent.included_hash)
    gas = int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16)
    assert paid(rig.intent) == gas + 7 * 10**14
    assert firing.cost_usd == paid(rig.intent) * 2_600 * 10**8 // WAD


@pytest.mark.parametrize("l1_fee", [hex(2**255), hex(MOST_DATA_FEE + 1), {}])
async def test_a_node_that_lies_about_it_counts_for_nothing(open_faulty: OpenRig, l1_fee: object) -> None:
    """Two of three nodes tell the fee that was taken; the third one's receipts are no receipts."""
    rig = await opened(open_faulty, FJORD, providers=3, quorum=2)
    for proxy in rig.proxies[1:]:
        proxy.lie("eth_getTransactionReceipt", lambda _, told: told and {**told, "l1Fee": hex(3 * 10**14)})
    rig.proxies[0].lie("eth_getTransactionReceipt", lambda _, told: told and {**told, "l1Fee": l1_fee})
    await rig.fall()
    assert (await rig.settle()).state is FiringState.DONE
    receipt = rig.chain.rpc("eth_getTransactionReceipt", rig.intent.included_hash)
    assert paid(rig.intent) == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16) + 3 * 10**14


@pytest.mark.parametrize("others", [[hex(WAD), "0x5", "0x5"], [None, "0x5", "0x5"]])
async def test_a_believable_lie_is_outvoted(open_faulty: OpenRig, others: list[str | None]) -> None:
    rig = await opened(open_faulty, FJORD, providers=3, quorum=2)
    for proxy, fee in zip(rig.proxies, others, strict=True):
        proxy.lie("eth_getTransactionReceipt", lambda _, told, fee=fee: told and {**told, "l1Fee": fee})
    await rig.fall()
    assert (await rig.settle()).state is FiringState.DONE
    receipt = rig.chain.rpc("eth_getTransactionReceipt", rig.intent.included_hash)
    assert paid(rig.intent) == int(receipt["gasUsed"], 16) * int(receipt["effectiveGasPrice"], 16) + 5
