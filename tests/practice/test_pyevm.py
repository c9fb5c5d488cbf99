"""The Python node answers as the usual one does: same addresses, same positions, same errors."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_utils.crypto import keccak

from tests.support.chain import Chain, keyed_account
from tests.support.deleverage import remove_code
from tui.practice.abi import calldata
from tui.practice.accounts import CHAIN_ID, SPARE_ACCOUNTS
from tui.practice.rpc import RpcError
from tui.practice.scenarios import PriceDriver, scenario_named
from tui.practice.world import World
from tui.protocols.aave_v3.helper import DEPLOYER, DEPLOYER_MAKER, DEPLOYER_TRANSACTION, DEPLOYER_WEI

pytestmark = [pytest.mark.node, pytest.mark.pyevm]

WAD = 10**18
RICH, POOR = SPARE_ACCOUNTS


@pytest.fixture
def both(market_v32: Chain, pyevm_market: Chain) -> tuple[Chain, Chain]:
    return market_v32, pyevm_market


def test_same_addresses(both: tuple[Chain, Chain]) -> None:
    assert both[0].market == both[1].market


def test_same_health_for_the_same_position(both: tuple[Chain, Chain]) -> None:
    answers = []
    for chain in both:
        chain.supply(RICH, "WETH", 10 * WAD)
        chain.supply(RICH, "WBTC", 10**7)
        chain.borrow(RICH, "USDC", 12_345_678_901)
        chain.set_price("WETH", "2876.54321")
        answers.append(chain.account_data(RICH))
    # The two chains were deployed seconds apart, so a few seconds of interest differ; all else is equal.
    assert answers[0][3:5] == answers[1][3:5]
    for index in (0, 1, 2, 5):
        assert answers[0][index] == pytest.approx(answers[1][index], rel=1e-6)


def error_of(chain: Chain, *request: object) -> RpcError:
    answer = chain.node.rpc.try_batch([(str(request[0]), list(request[1:]))])[0]
    assert isinstance(answer, RpcError)
    return answer


def test_same_revert_data(both: tuple[Chain, Chain]) -> None:
    pool = both[0].market.pool
    weth = both[0].token("WETH").address
    data = calldata("borrow(address,uint256,uint256,uint16,address)", weth, WAD, 2, 0, POOR)
    errors = [error_of(chain, "eth_call", {"from": POOR, "to": pool, "data": data}, "latest") for chain in both]
    assert (errors[0].code, errors[0].data) == (errors[1].code, errors[1].data)
    assert errors[0].code == 3
    assert errors[0].message == errors[1].message


@pytest.mark.parametrize("method", ["eth_simulateV1", "trace_call", "nonsense"])
def test_unknown_methods_are_refused_as_such(pyevm_market: Chain, method: str) -> None:
    assert error_of(pyevm_market, method).code == -32601


def test_a_block_that_is_not_there(both: tuple[Chain, Chain]) -> None:
    request = {"to": both[0].market.pool, "data": calldata("POOL_REVISION()")}
    for chain in both:
        error_of(chain, "eth_call", request, {"blockHash": "0x" + "ab" * 32})
        error_of(chain, "eth_call", request, hex(10**9))
        assert chain.rpc("eth_getBlockByNumber", hex(10**9), False) is None
        assert chain.rpc("eth_getBlockByHash", "0x" + "ab" * 32, False) is None
        assert chain.rpc("eth_getTransactionReceipt", "0x" + "ab" * 32) is None


def test_calls_are_pinned_to_a_block_hash(both: tuple[Chain, Chain]) -> None:
    for chain in both:
        old = chain.block()
        chain.set_price("WETH", 1234)
        feed = chain.token("WETH").feed
        at_hash = chain.call(feed, "latestAnswer()", ["int256"], block={"blockHash": old["hash"]})
        at_number = chain.call(feed, "latestAnswer()", ["int256"], block=old["number"])
        assert at_hash == at_number == 3000 * 10**8
        assert chain.price("WETH") == 1234 * 10**8


def test_state_overrides(both: tuple[Chain, Chain]) -> None:
    nowhere = "0x" + "c0de" * 10
    # PUSH0 CALLDATALOAD, SLOAD, then SELFBALANCE: returns (storage[calldata], own balance)
    code = "0x5f35545f52476020526040" + "5ff3"
    request = {"to": nowhere, "data": "0x" + (7).to_bytes(32, "big").hex()}
    change: dict[str, Any] = {
        "code": code,
        "balance": hex(55),
        "stateDiff": {"0x" + (7).to_bytes(32, "big").hex(): "0x" + (99).to_bytes(32, "big").hex()},
    }
    for chain in both:
        result = chain.rpc("eth_call", request, "latest", {nowhere: change})
        assert result == "0x" + (99).to_bytes(32, "big").hex() + (55).to_bytes(32, "big").hex()
        change_all = {**change, "state": change["stateDiff"]}
        del change_all["stateDiff"]
        assert chain.rpc("eth_call", request, "latest", {nowhere: change_all}) == result
        assert chain.rpc("eth_call", request, "latest") == "0x"
        assert chain.rpc("eth_getCode", nowhere, "latest") == "0x"


def test_code_sent_with_the_call_is_run(both: tuple[Chain, Chain]) -> None:
    # Init code that returns the block number as if it were the deployed code.
    data = "0x435f5260205ff3"
    for chain in both:
        assert int(chain.rpc("eth_call", {"data": data}, "latest"), 16) == chain.block_number()


def sign(key: bytes, **fields: object) -> tuple[str, str]:
    transaction = {
        "chainId": CHAIN_ID,
        "type": 2,
        "gas": 21_000,
        "maxFeePerGas": 50 * 10**9,
        "maxPriorityFeePerGas": 10**9,
        "value": 1,
        "to": RICH,
        "nonce": 0,
        **fields,
    }
    signed = Account.sign_transaction(transaction, key)
    return "0x" + signed.raw_transaction.hex().removeprefix("0x"), "0x" + signed.hash.hex().removeprefix("0x")


def test_a_signed_transaction_from_pool_to_receipt(both: tuple[Chain, Chain]) -> None:
    address, key = keyed_account(1)
    for chain in both:
        chain.set_ether(address, WAD)
        chain.set_automine(False)
        raw, name = sign(key)
        assert chain.rpc("eth_sendRawTransaction", raw) == name
        waiting = chain.rpc("eth_getTransactionByHash", name)
        assert waiting["blockNumber"] is None
        assert waiting["from"] == address.lower()
        assert chain.rpc("eth_getTransactionCount", address, "latest") == "0x0"
        assert chain.rpc("eth_getTransactionCount", address, "pending") == "0x1"
        assert "already" in error_of(chain, "eth_sendRawTransaction", raw).message
        chain.mine()
        receipt = chain.rpc("eth_getTransactionReceipt", name)
        mined = chain.rpc("eth_getTransactionByHash", name)
        block = chain.rpc("eth_getBlockByHash", receipt["blockHash"], True)
        assert receipt["status"] == "0x1"
        assert receipt["gasUsed"] == hex(21_000)
        assert mined["blockHash"] == receipt["blockHash"]
        assert [each["hash"] for each in block["transactions"]] == [name]
        spent = WAD - 1 - 21_000 * int(receipt["effectiveGasPrice"], 16)
        assert chain.ether(address) == spent
        assert "nonce too low" in error_of(chain, "eth_sendRawTransaction", sign(key, value=2)[0]).message


def test_only_a_better_paid_transaction_replaces_one(pyevm_market: Chain) -> None:
    chain = pyevm_market
    address, key = keyed_account(2)
    chain.set_ether(address, WAD)
    chain.set_automine(False)
    _, first = sign(key)
    chain.rpc("eth_sendRawTransaction", sign(key)[0])
    poor = sign(key, maxFeePerGas=54 * 10**9, maxPriorityFeePerGas=2 * 10**9)[0]
    assert "underpriced" in error_of(chain, "eth_sendRawTransaction", poor).message
    raw, better = sign(key, maxFeePerGas=60 * 10**9, maxPriorityFeePerGas=2 * 10**9)
    chain.rpc("eth_sendRawTransaction", raw)
    chain.mine()
    assert chain.rpc("eth_getTransactionReceipt", first) is None
    assert chain.rpc("eth_getTransactionReceipt", better)["status"] == "0x1"


def test_refusals_of_a_public_node(pyevm_market: Chain) -> None:
    chain = pyevm_market
    address, key = keyed_account(3)
    assert "nsufficient funds" in error_of(chain, "eth_sendRawTransaction", sign(key)[0]).message
    chain.set_ether(address, WAD)
    assert "chain id" in error_of(chain, "eth_sendRawTransaction", sign(key, chainId=1)[0]).message
    assert "intrinsic gas" in error_of(chain, "eth_sendRawTransaction", sign(key, gas=20_000)[0]).message
    assert error_of(chain, "eth_sendRawTransaction", "0x02c0").code == -32602
    stranger = {"from": "0x" + "11" * 20, "to": RICH}
    assert "Signer" in error_of(chain, "eth_sendTransaction", stranger).message


def test_a_transaction_below_the_base_fee_waits(pyevm_market: Chain) -> None:
    chain = pyevm_market
    address, key = keyed_account(4)
    chain.set_ether(address, WAD)
    chain.set_automine(False)
    raw, name = sign(key, maxFeePerGas=3 * 10**9)
    chain.rpc("eth_sendRawTransaction", raw)
    chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(4 * 10**9))
    chain.mine()
    assert chain.rpc("eth_getTransactionReceipt", name) is None
    chain.rpc("anvil_setNextBlockBaseFeePerGas", hex(2 * 10**9))
    chain.mine()
    assert chain.rpc("eth_getTransactionReceipt", name)["effectiveGasPrice"] == hex(3 * 10**9)


def test_fee_history_has_the_shape_of_the_other_nodes(both: tuple[Chain, Chain]) -> None:
    for chain in both:
        chain.give("USDC", 1, RICH)
        chain.mine(2)
        history = chain.rpc("eth_feeHistory", "0x3", "latest", [10, 50])
        assert len(history["baseFeePerGas"]) == 4
        assert len(history["gasUsedRatio"]) == 3
        assert [len(row) for row in history["reward"]] == [2, 2, 2]
        assert int(history["oldestBlock"], 16) == chain.block_number() - 2
        assert history["baseFeePerGas"][2] == chain.block()["baseFeePerGas"]


def test_gas_estimates_suffice(both: tuple[Chain, Chain]) -> None:
    for chain in both:
        chain.give("USDC", 10**9, RICH)
        usdc = chain.token("USDC").address
        request = {"from": RICH, "to": usdc, "data": calldata("transfer(address,uint256)", POOR, 5)}
        gas = int(chain.rpc("eth_estimateGas", request), 16)
        assert 40_000 < gas < 90_000
        name = chain.rpc("eth_sendTransaction", {**request, "gas": hex(gas)})
        chain.mine()
        assert chain.rpc("eth_getTransactionReceipt", name)["status"] == "0x1"
        broke = {"from": POOR, "to": usdc, "data": calldata("transfer(address,uint256)", RICH, 10**20)}
        assert "exceeds balance" in error_of(chain, "eth_estimateGas", broke).message


def test_logs_are_found_by_address_and_topic(both: tuple[Chain, Chain]) -> None:
    found = []
    for chain in both:
        start = chain.block_number() + 1
        chain.supply(RICH, "USDC", 10**9)
        pool = chain.market.pool
        logs = chain.rpc("eth_getLogs", {"address": pool, "fromBlock": hex(start), "toBlock": "latest"})
        supply = [log for log in logs if len(log["topics"]) == 4]
        topics = [None, supply[0]["topics"][1]]
        again = chain.rpc(
            "eth_getLogs", {"address": [pool], "topics": topics, "fromBlock": hex(start), "toBlock": "latest"}
        )
        assert [log["logIndex"] for log in again] == [log["logIndex"] for log in logs if log["topics"][1] == topics[1]]
        found.append([(log["topics"], log["data"]) for log in supply])
    assert found[0] == found[1]


def test_snapshots_bring_back_everything(pyevm_market: Chain) -> None:
    chain = pyevm_market
    height, price = chain.block_number(), chain.price("WETH")
    outer = chain.snapshot()
    chain.set_price("WETH", 1)
    inner = chain.snapshot()
    chain.give("DAI", 5, POOR)
    assert chain.rpc("evm_revert", inner) is True
    assert chain.balance("DAI", POOR) == 0
    assert chain.price("WETH") == 10**8
    assert chain.rpc("evm_revert", outer) is True
    assert (chain.block_number(), chain.price("WETH")) == (height, price)
    assert chain.rpc("evm_revert", inner) is False


def test_what_is_mined_again_and_taken_back_leaves_what_was_mined_first(pyevm_market: Chain) -> None:
    """The transaction that makes the deterministic deployer is one for all chains: it is mined again where the nonce of
    its sender is set back.
    """
    chain = pyevm_market
    raw, name = "0x" + DEPLOYER_TRANSACTION.hex(), "0x" + keccak(DEPLOYER_TRANSACTION).hex()
    if chain.rpc("eth_getTransactionReceipt", name) is None:
        chain.set_ether(DEPLOYER_MAKER, DEPLOYER_WEI)
        assert chain.rpc("eth_sendRawTransaction", raw) == name
    first = chain.rpc("eth_getTransactionReceipt", name)
    snapshot = chain.snapshot()
    for _ in range(2):
        remove_code(chain, DEPLOYER, DEPLOYER_MAKER)
        chain.set_ether(DEPLOYER_MAKER, DEPLOYER_WEI)
        assert chain.rpc("eth_sendRawTransaction", raw) == name
        assert chain.rpc("eth_getTransactionReceipt", name)["blockNumber"] == hex(chain.block_number())
    assert chain.rpc("evm_revert", snapshot) is True
    assert chain.rpc("eth_getTransactionReceipt", name) == first
    assert chain.rpc("eth_getTransactionByHash", name)["blockNumber"] == first["blockNumber"]
    assert len(chain.rpc("eth_feeHistory", 1024, "latest", [50])["reward"]) == chain.block_number() + 1


def test_time_passes_as_told(both: tuple[Chain, Chain]) -> None:
    for chain in both:
        before = int(chain.block()["timestamp"], 16)
        chain.rpc("evm_increaseTime", 86_400)
        chain.mine()
        assert int(chain.block()["timestamp"], 16) == pytest.approx(before + 86_400, abs=30)
        chain.rpc("evm_setNextBlockTimestamp", before + 200_000)
        chain.mine()
        assert int(chain.block()["timestamp"], 16) == before + 200_000
        chain.mine()
        assert before + 200_000 <= int(chain.block()["timestamp"], 16) < before + 200_030


def test_batches_and_broken_requests(pyevm_market: Chain) -> None:
    answers = pyevm_market.node.rpc.try_batch(
        [("eth_chainId", []), ("nonsense", []), ("eth_getBalance", ["0x12", "latest"])]
    )
    assert answers[0] == hex(CHAIN_ID)
    assert isinstance(answers[1], RpcError)
    assert isinstance(answers[2], RpcError)
    assert answers[2].code == -32602


def test_the_market_lives_on_it_too(pyevm_market: Chain) -> None:
    world = World(pyevm_market.node.rpc, pyevm_market.market, PriceDriver(scenario_named("wick"), 3, 2000))
    world.driver.elapsed_ms = 12_000
    steps = [world.step() for _ in range(4)]
    assert not any(step.failed for step in steps)
    assert pyevm_market.price("WETH") < 2600 * 10**8
    assert any(what.startswith("arbitrage") for step in steps for what in step.done)
