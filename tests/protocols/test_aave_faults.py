"""What cannot be read, or is not as it was: the positions it touches are unknown with the reason, others stay."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from tests.protocols.reading import adapter, contract_health, eth_call, head, read, read_one
from tests.support.chain import Chain
from tui.model.calls import CallResult
from tui.model.network import MarketConfig
from tui.model.position import Position, Status
from tui.practice.accounts import OWNER
from tui.practice.rpc import RpcError
from tui.protocols.aave_v3 import lens
from tui.protocols.aave_v3.configured import make_market

pytestmark = [pytest.mark.node]

IMPLEMENTATION_SLOT = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
SHIM = "0x00000000000000000000000000000000005a1a10"
REVERTING, BURNING = "0x60006000fd", "0xfe"


def _holder(chain: Chain, collateral: Sequence[str], debt: str) -> str:
    account = chain.new_account()
    for symbol in collateral:
        chain.supply(account, symbol, 30_000 * chain.token(symbol).unit * 10**8 // chain.price(symbol))
    chain.borrow(account, debt, 10_000 * chain.token(debt).unit * 10**8 // chain.price(debt))
    return account


def _replace_source(chain: Chain, symbol: str, code: str) -> None:
    """Have the oracle ask a contract that never answers."""
    chain.rpc("anvil_setCode", SHIM, code)
    oracle, token = chain.market.oracle, chain.token(symbol).address
    chain.send(OWNER, oracle, "setAssetSources(address[],address[])", [token], [SHIM])


def _upgrade_pool(chain: Chain, selector: str, word: int, added: int) -> None:
    """Put before the pool's implementation one that adds to a word of one function's answer."""
    pool = chain.market.pool
    old = chain.rpc("eth_getStorageAt", pool, IMPLEMENTATION_SLOT, "latest")[-40:]
    offset = f"{32 * word:02x}"
    head_ = f"3660006000376000600036600073{old}5af43d600060003e"
    ok = len(head_) // 2 + 7
    jump = f"60{ok:02x}573d6000fd5b"
    test = f"60003560e01c63{selector}1415"
    change = f"60{offset}5160{added:02x}0160{offset}52"
    end = (len(head_) + len(jump) + len(test)) // 2 + 3 + len(change) // 2
    code = head_ + jump + test + f"60{end:02x}57" + change + "5b3d6000f3"
    chain.rpc("anvil_setCode", SHIM, "0x" + code)
    chain.rpc("anvil_setStorageAt", pool, IMPLEMENTATION_SLOT, "0x" + SHIM[2:].rjust(64, "0"))


def _is_blind(position: Position) -> bool:
    return (
        position.status is Status.UNKNOWN
        and position.health_factor is None
        and position.collateral == ()
        and position.debt == ()
        and position.collateral_usd is None
    )


@pytest.mark.parametrize("code", [REVERTING, BURNING])
def test_an_oracle_that_fails_blinds_its_holders_alone(market: Chain, code: str) -> None:
    of_btc, owes_btc = _holder(market, ["WBTC", "WETH"], "USDC"), _holder(market, ["WETH"], "WBTC")
    other = _holder(market, ["WETH"], "USDC")
    _replace_source(market, "WBTC", code)
    aave = adapter(market)
    reading = read(market, [of_btc, owes_btc, other], aave)
    assert reading.error is None
    for position in reading.positions[:2]:
        assert _is_blind(position)
        assert position.unknown is not None
        assert "WBTC" in position.unknown
    with pytest.raises(RpcError):
        market.health_factor(of_btc)
    assert reading.positions[2].unknown is None
    assert reading.positions[2].health_factor == contract_health(market, other)
    wbtc = aave.find_asset(reading.positions[2], "WBTC")
    assert wbtc is not None
    assert aave.price_usd(reading.positions[2], wbtc) is None


def test_a_price_of_nothing_is_no_price(market: Chain) -> None:
    account = _holder(market, ["WBTC"], "USDC")
    for answer in (0, -1):
        market.set_answer("WBTC", answer)
        assert _is_blind(read_one(market, account))


def test_a_balance_that_cannot_be_read_is_not_zero(market: Chain) -> None:
    account, other = _holder(market, ["WETH", "WBTC"], "USDC"), _holder(market, ["WETH"], "USDC")
    market.rpc("anvil_setCode", market.token("WBTC").a_token, REVERTING)
    blind, fine = read(market, [account, other]).positions
    assert _is_blind(blind)
    assert "WBTC" in (blind.unknown or "")
    assert fine.health_factor == contract_health(market, other)


@pytest.mark.parametrize(
    ("word", "name"), [(0, "collateral"), (1, "debt"), (3, "threshold"), (4, "LTV"), (5, "health")]
)
def test_an_upgrade_that_counts_otherwise_is_noticed(market: Chain, word: int, name: str) -> None:
    account = _holder(market, ["WETH", "WBTC"], "USDC")
    before = read_one(market, account)
    assert before.unknown is None
    _upgrade_pool(market, "bf92857c", word, 1)
    assert market.account_data(account)[word] > 0
    position = read_one(market, account)
    assert _is_blind(position)
    assert name in (position.unknown or "")


def test_a_revision_that_is_not_known_is_never_misread(market: Chain) -> None:
    accounts = [_holder(market, held, owed) for held, owed in (
        (["WETH"], "USDC"), (["WETH", "WBTC", "DAI"], "USDC"), (["wstETH", "WBTC"], "DAI"), (["USDC"], "WETH"),
    )]  # fmt: skip
    market.advance(90 * 86_400)
    _upgrade_pool(market, "0148170e", 0, 77)
    reading = read(market, accounts)
    assert reading.version.startswith("unknown (revision ")
    unknown = 0
    for account, position in zip(accounts, reading.positions, strict=True):
        if position.unknown is None:
            assert position.health_factor == contract_health(market, account)
        unknown += position.unknown is not None
    assert unknown


def test_the_fingerprint_changes_with_oracle_and_sources(market: Chain) -> None:
    before = read(market, []).fingerprint
    assert read(market, []).fingerprint == before
    _replace_source(market, "DAI", REVERTING)
    assert read(market, []).fingerprint != before


def test_an_addresses_provider_without_a_pool_is_an_error_for_all(market_v32: Chain) -> None:
    account = _holder(market_v32, ["WETH"], "USDC")
    market_v32.rpc("anvil_setCode", market_v32.market.provider, REVERTING)
    reading = read(market_v32, [account])
    assert reading.error is not None
    assert "cannot be read" in reading.error
    assert [_is_blind(one) for one in reading.positions] == [True]


def test_an_old_feed_is_noted(market: Chain) -> None:
    account = _holder(market, ["WETH"], "USDC")
    market.advance(86_400 * 2)
    position = read_one(market, account)
    assert position.unknown is None
    assert any("WETH" in note and "48 hours" in note for note in position.notes)
    assert position.collateral[0].price_updated_at is not None
    market.set_price("WETH", 2_900)
    market.set_price("USDC", 1)
    fresh = read_one(market, account)
    assert fresh.notes == ()
    options = {"pool_addresses_provider": market.market.provider}
    impatient = make_market(MarketConfig("aave-v3", "core", options, price_heartbeat=60))
    market.advance(120)
    assert any("WETH" in note for note in read_one(market, account, impatient).notes)


@pytest.mark.timeout(180)
def test_no_tampered_answer_passes_for_another_health(market: Chain) -> None:
    rng = random.Random(9)
    account, other = _holder(market, ["WETH", "WBTC"], "USDC"), _holder(market, ["wstETH"], "DAI")
    aave = adapter(market)
    accounts = [account.lower(), other.lower()]
    block = head(market)
    (call,) = aave.read_calls(accounts)
    honest = eth_call(market, block, call).data
    assert honest is not None
    truth = [one.health_factor for one in aave.decode(block, accounts, [CallResult(honest)]).positions]
    assert None not in truth
    seen = set()
    for _ in range(3_000):
        data = bytearray(honest)
        for _ in range(rng.choice((1, 1, 2))):
            at = 32 * rng.randrange(len(data) // 32)
            word = int.from_bytes(data[at : at + 32], "big")
            changed = rng.choice(
                (0, 1, word + 1, word * 2, word ^ 1 << rng.randrange(256), 2**256 - 1, rng.randrange(2**256))
            )
            data[at : at + 32] = (changed % 2**256).to_bytes(32, "big")
        result = bytes(data) if rng.random() < 0.9 else bytes(data[: rng.randrange(len(data))])
        for position, health in zip(aave.decode(block, accounts, [CallResult(result)]).positions, truth, strict=True):
            seen.add(position.unknown is None)
            if position.unknown is None:
                assert position.health_factor == health
    assert seen == {True, False}


def test_answers_that_are_none_or_of_another_time_are_errors(market_v32: Chain) -> None:
    account = market_v32.new_account().lower()
    aave = adapter(market_v32)
    block = head(market_v32)
    honest = eth_call(market_v32, block, aave.read_calls([account])[0])
    for results in ([], [CallResult(None, "execution reverted")], [CallResult(b"")], [CallResult(b"\0" * 320)]):
        reading = aave.decode(block, [account], results)
        assert reading.error
        assert _is_blind(reading.positions[0])
    market_v32.advance(3_600)
    assert "answered as of" in (aave.decode(head(market_v32), [account], [honest]).error or "")
    assert "other accounts" in (aave.decode(block, ["0x" + "1" * 40], [honest]).error or "")


def test_the_lens_refuses_more_accounts_than_it_can_take() -> None:
    with pytest.raises(ValueError, match="the most is 200"):
        lens.read_call("0x" + "1" * 40, ["0x" + "2" * 40] * 201)
