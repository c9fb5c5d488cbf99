"""Carries planned calls out on a node: permits signed by the holder's key, each call a transaction of the holder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.protocols.reading import eth_call, head
from tests.support.chain import Chain
from tests.support.deleverage import GAS, Holder
from tui.model.plan import PermitNeed, PlannedCall, SaleTerms
from tui.model.position import Asset, Position
from tui.model.rule import ActionKind
from tui.model.signing import PermitKind
from tui.protocols.aave_v3.market import AaveV3Market


@dataclass(frozen=True)
class Done:
    """What became of one call."""

    ok: bool
    gas: int
    logs: list[dict[str, object]]


def signed(holder: Holder, call: PlannedCall) -> bytes:
    """The calldata, with the holder's signature where it wants one."""
    if call.permit is None:
        return call.data
    assert call.data[-96:] == bytes(96)
    v, r, s = sign(holder, call.permit)
    return call.data[:-96] + v.to_bytes(32, "big") + r + s


def sign(holder: Holder, need: PermitNeed) -> tuple[int, bytes, bytes]:
    """v, r, s by what the need itself says and nothing else."""
    kinds = {"owner": "address", "spender": "address", "value": "uint256", "nonce": "uint256", "deadline": "uint256"}
    said = {
        "owner": holder.address,
        "spender": need.spender,
        "value": need.value,
        "nonce": need.nonce,
        "deadline": need.deadline,
    }
    name = "Permit"
    if need.kind is PermitKind.DELEGATION:
        name, kinds = "DelegationWithSig", {"delegatee": "address"} | dict.fromkeys(list(kinds)[2:], "uint256")
        said = {"delegatee": need.spender} | {one: said[one] for one in list(kinds)[1:]}
    made = holder.key.sign_typed_data(
        {
            "name": need.name,
            "version": need.version,
            "chainId": holder.chain.market.chain_id,
            "verifyingContract": need.token,
        },
        {name: [{"name": one, "type": kind} for one, kind in kinds.items()]},
        said,
    )
    return made.v, made.r.to_bytes(32, "big"), made.s.to_bytes(32, "big")


def carry_out(holder: Holder, calls: Sequence[PlannedCall], at: int | None = None) -> list[Done]:
    """All of `calls` in one block, at `at` (unix seconds) if given."""
    chain = holder.chain
    chain.rpc("anvil_impersonateAccount", holder.address)
    chain.rpc("evm_setAutomine", False)
    sent = []
    for nonce, call in enumerate(calls, holder.nonce):
        request = {
            "from": holder.address,
            "to": call.to,
            "data": "0x" + signed(holder, call).hex(),
            "value": hex(call.value),
            "gas": hex(GAS),
            "nonce": hex(nonce),
        }
        sent.append(chain.rpc("eth_sendTransaction", request))
    if at is not None:
        chain.rpc("evm_setNextBlockTimestamp", at)
    chain.rpc("evm_mine")
    chain.rpc("evm_setAutomine", True)
    found = [chain.rpc("eth_getTransactionReceipt", one) for one in sent]
    return [Done(int(one["status"], 16) == 1, int(one["gasUsed"], 16), one["logs"]) for one in found]


def read_terms(
    chain: Chain,
    aave: AaveV3Market,
    position: Position,
    collateral: Asset,
    debt: Asset | None = None,
    kind: ActionKind = ActionKind.DELEVERAGE,
) -> SaleTerms:
    """The terms of a sale as the chain tells them at its head."""
    block = head(chain)
    calls = aave.sale_calls(position, collateral, debt, kind)
    return aave.sale_terms(position, collateral, [eth_call(chain, block, call) for call in calls], debt, kind)
