"""The helper on a chain that has no deterministic deployer yet: the Python node."""

from __future__ import annotations

import pytest

from tests.contracts.reshaping import GAS, KINDS, told, usual
from tests.contracts.test_deleverage import check_nothing_left
from tests.support.chain import Chain
from tests.support.deleverage import WAD, Holder, code_at, deploy, remove_code, the_helper, transact
from tui.protocols.aave_v3.helper import (
    DEPLOYER,
    DEPLOYER_CODE,
    DEPLOYER_MAKER,
    DEPLOYER_TRANSACTION,
    DEPLOYER_WEI,
    deleverage_data,
)

pytestmark = [pytest.mark.node, pytest.mark.pyevm]


def test_from_an_empty_address_to_a_saved_position(pyevm_market: Chain) -> None:
    chain = pyevm_market
    remove_code(chain, the_helper(chain).address, DEPLOYER, DEPLOYER_MAKER)
    assert code_at(chain, DEPLOYER) == b""
    chain.set_ether(DEPLOYER_MAKER, DEPLOYER_WEI)
    chain.rpc("eth_sendRawTransaction", "0x" + DEPLOYER_TRANSACTION.hex())
    assert code_at(chain, DEPLOYER) == DEPLOYER_CODE
    helper = deploy(chain)
    assert code_at(chain, helper.address) == helper.code

    holder = Holder(chain, 90).borrow_to()
    done = transact(chain, holder.address, helper.address, holder.signed_permit(helper, holder.order()))
    assert done.ok, done.reason
    assert holder.health >= 149 * WAD // 100
    check_nothing_left(chain, helper, holder)

    other = Holder(chain, 91).borrow_to()
    done = other.delegated(helper.address, deleverage_data(other.order()))
    assert done.ok, done.reason
    assert other.health >= 149 * WAD // 100
    assert code_at(chain, other.address) == helper.delegation


def test_what_else_it_does(pyevm_market: Chain) -> None:
    chain = pyevm_market
    chain.set_ether(DEPLOYER_MAKER, DEPLOYER_WEI)
    if code_at(chain, DEPLOYER) != DEPLOYER_CODE:
        chain.rpc("eth_sendRawTransaction", "0x" + DEPLOYER_TRANSACTION.hex())
    helper = deploy(chain)
    for number, kind in enumerate(KINDS):
        asked = usual(kind, chain, 92 + number)
        done = transact(chain, asked.holder.address, helper.address, asked.signed(helper), gas=GAS)
        assert done.ok, done.reason
        outcome = told(kind, done.logs, helper.address)
        assert (outcome.used, outcome.health_factor) == (asked.amount, asked.holder.health)
        check_nothing_left(chain, helper, asked.holder)
