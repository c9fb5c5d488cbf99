"""Quotes against the real QuoterV2 and against what the swap then takes; paths, prices and losses by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_abi.packed import encode_packed
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from tests.protocols.reading import eth_call, head
from tests.support.chain import Chain
from tui.model.calls import CallResult
from tui.model.position import Asset
from tui.model.units import WAD
from tui.quotes import uniswap_v3
from tui.quotes.base import Quote, Quoter, SwapRequest, fair_in, most_sold
from tui.quotes.uniswap_v3 import (
    Route,
    UniswapV3,
    decode_path,
    decode_quote,
    decode_sqrt_price,
    encode_path,
    quote_data,
)

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
fees = st.integers(min_value=0, max_value=2**24 - 1)
routes = st.integers(1, 3).flatmap(
    lambda pools: st.builds(
        Route,
        st.tuples(*[addresses] * (pools + 1)),
        st.tuples(*[fees] * pools),
    )
)


def _asset(chain: Chain, symbol: str) -> Asset:
    token = chain.token(symbol)
    return Asset(token.address.lower(), symbol, token.decimals)


def _quoter(chain: Chain, *bases: str) -> UniswapV3:
    market = chain.market
    through = tuple(chain.token(one).address.lower() for one in bases)
    return UniswapV3(market.uniswap_factory.lower(), market.quoter_v2.lower(), through)


def _request(chain: Chain, sold: str, bought: str, amount: int) -> SwapRequest:
    assets = [_asset(chain, one) for one in (sold, bought)]
    return SwapRequest(assets[0], assets[1], amount, {one.address: chain.price(one.symbol) for one in assets})


def _ask(chain: Chain, quoter: Quoter, request: SwapRequest) -> tuple[Quote, ...]:
    block = head(chain)
    return quoter.decode(request, [eth_call(chain, block, call) for call in quoter.calls(request)])


@given(routes)
def test_paths_go_there_and_back(route: Route) -> None:
    path = encode_path(route)
    parts: list[object] = [route.tokens[-1]]
    for token, fee in zip(route.tokens[-2::-1], route.fees[::-1], strict=True):
        parts += [fee, token]
    assert path == encode_packed(["address", *["uint24", "address"] * len(route.fees)], parts)
    assert decode_path(path) == route


@given(routes, st.integers(1, 2**256 - 1))
def test_calldata_is_abi_encoded(route: Route, amount: int) -> None:
    expected = keccak(text="quoteExactOutput(bytes,uint256)")[:4]
    expected += encode(["bytes", "uint256"], [encode_path(route), amount])
    assert quote_data(route, amount) == expected


@given(st.binary(max_size=120).filter(lambda raw: len(raw) not in (43, 66, 89)))
def test_other_bytes_are_no_path(raw: bytes) -> None:
    with pytest.raises(ValueError, match="path"):
        decode_path(raw)


@given(st.binary(max_size=400) | st.none())
def test_no_answer_breaks_the_decoding(raw: bytes | None) -> None:
    answer, price = decode_quote(raw), decode_sqrt_price(raw)
    assert answer is None or answer[0] > 0
    assert price is None or price > 0


def test_an_address_is_that_of_the_pool(anvil_v32: Chain) -> None:
    quoter = _quoter(anvil_v32)
    for pool in anvil_v32.market.pools:
        tokens = [anvil_v32.token(one).address.lower() for one in (pool.symbol0, pool.symbol1)]
        assert quoter.pool(tokens[0], tokens[1], pool.fee) == pool.address.lower()
        assert quoter.pool(tokens[1], tokens[0], pool.fee) == pool.address.lower()


def test_every_tier_and_every_pair_of_tiers_is_asked() -> None:
    weth, usdc, dai, wbtc = (Asset(f"0x{number:040x}", "X", 18) for number in (1, 2, 3, 4))
    quoter = UniswapV3("0x" + "9" * 40, "0x" + "8" * 40, (dai.address, wbtc.address, usdc.address, dai.address))
    request = SwapRequest(weth, usdc, 1, {})
    asked = quoter.routes(request)
    assert len(asked) == len(set(asked)) == 4 + 2 * 16
    assert len(quoter.calls(request)) == 36 + 4 + 2 * 8
    assert quoter.routes(SwapRequest(weth, weth, 1, {})) == ()


@pytest.mark.node
@pytest.mark.parametrize(
    ("sold", "bought", "dollars", "best"),
    [
        ("WETH", "USDC", 100_000, "Uniswap V3 0.05%"),
        ("WETH", "DAI", 2_000_000, "Uniswap V3 0.05% + 0.01%"),
        ("WETH", "DAI", 1_000, "Uniswap V3 0.05%"),
        ("wstETH", "USDC", 50_000, "Uniswap V3 0.01% + 0.05%"),
        ("WBTC", "WETH", 10_000, "Uniswap V3 0.05%"),
        ("WBTC", "WETH", 300_000, "Uniswap V3 0.05% + 0.05%"),
        ("USDC", "WBTC", 300_000, "Uniswap V3 0.05%"),
    ],
)
def test_the_swap_takes_what_was_quoted(market_v32: Chain, sold: str, bought: str, dollars: int, best: str) -> None:
    chain = market_v32
    amount = dollars * 10**8 * chain.token(bought).unit // chain.price(bought)
    request = _request(chain, sold, bought, amount)
    quotes = _ask(chain, _quoter(chain, "WETH", "USDC"), request)
    quote = quotes[0]
    assert quote.venue == best
    assert [one.amount_in for one in quotes] == sorted(one.amount_in for one in quotes)
    trader = chain.new_account()
    chain.give(sold, quote.amount_in, trader)
    chain.approve(trader, sold, chain.market.router02)
    swap = "exactOutput((bytes,address,uint256,uint256))"
    chain.send(trader, chain.market.router02, swap, (quote.path, trader, amount, quote.amount_in))
    assert chain.balance(sold, trader) == 0
    assert chain.balance(bought, trader) == amount


@pytest.mark.node
def test_every_real_pool_is_found_and_no_other(anvil_v32: Chain) -> None:
    chain = anvil_v32
    request = _request(chain, "WETH", "USDC", chain.units("USDC", 10_000))
    found = {decode_path(one.path) for one in _ask(chain, _quoter(chain, "DAI", "WBTC", "USDT"), request)}
    weth, usdc, dai, wbtc = (chain.token(one).address.lower() for one in ("WETH", "USDC", "DAI", "WBTC"))
    assert found == {
        Route((weth, usdc), (500,)),
        Route((weth, dai, usdc), (500, 100)),
        Route((weth, wbtc, usdc), (500, 500)),
    }


@pytest.mark.node
def test_where_the_money_goes(market_v32: Chain) -> None:
    """Against the closed form of a full-range pool (x*y = k) at the oracle's price."""
    chain, dollars = market_v32, 1_000_000
    request = _request(chain, "WETH", "USDC", chain.units("USDC", dollars))
    (quote,) = _ask(chain, _quoter(chain), request)
    # 100 million a side: in = x * out / (y - out), impact = 1 - (y - out) / y.
    assert quote.impact == pytest.approx(dollars / 100_000_000 * WAD, rel=1e-3)
    assert quote.impact_bps in (100, 101)
    assert quote.fees == 5 * WAD // 10_000
    assert quote.gap is not None
    assert quote.loss is not None
    assert abs(quote.gap) < WAD // 10**9
    assert WAD - quote.loss == pytest.approx((WAD - quote.fees) * (WAD - quote.impact) // WAD, rel=1e-9)
    fair = fair_in(request)
    assert fair is not None
    assert quote.amount_in * (WAD - quote.loss) // WAD <= fair
    assert quote.amount_in == pytest.approx(fair / 0.99 / 0.9995, rel=1e-6)


@pytest.mark.node
@pytest.mark.parametrize(("oracle", "gap"), [("3030", 100), ("2970", -101)])
def test_the_gap_to_the_oracle(market_v32: Chain, oracle: str, gap: int) -> None:
    """The oracle is a hundredth above the pool: what is sold there brings a hundredth less than it counts for."""
    market_v32.set_price("WETH", oracle)
    request = _request(market_v32, "WETH", "USDC", market_v32.units("USDC", 1_000))
    (quote,) = _ask(market_v32, _quoter(market_v32), request)
    assert quote.gap_bps == pytest.approx(gap, abs=1)
    (blind,) = _ask(market_v32, _quoter(market_v32), replace(request, prices_usd={}))
    assert (blind.gap, blind.loss, blind.gap_bps) == (None, None, None)
    assert blind.amount_in == quote.amount_in


@pytest.mark.node
def test_more_than_there_is_has_no_quote(anvil_v32: Chain) -> None:
    request = _request(anvil_v32, "WETH", "USDC", anvil_v32.units("USDC", 200_000_000))
    assert _ask(anvil_v32, _quoter(anvil_v32), request) == ()


def test_answers_that_do_not_fit_are_no_quotes() -> None:
    one, other = (Asset("0x" + digit * 40, "X", 18) for digit in "12")
    quoter = UniswapV3("0x" + "9" * 40, "0x" + "8" * 40)
    request = SwapRequest(one, other, WAD, {})
    calls = quoter.calls(request)
    slot0 = CallResult(encode(["uint256"] * 7, [2**96, 0, 0, 0, 0, 0, 1]))
    quote = CallResult(encode(["uint256", "uint160[]", "uint32[]", "uint256"], [10**18, [1], [1], 90_000]))
    good = [slot0] * 4 + [quote] * 4
    assert len(calls) == len(good)
    assert len(quoter.decode(request, good)) == 4
    assert quoter.decode(request, good[:-1]) == ()
    assert len(quoter.decode(request, [CallResult(b""), *good[1:]])) == 3
    assert len(quoter.decode(request, [*good[:-1], CallResult(None, "reverted")])) == 3
    assert quoter.decode(replace(request, amount_out=0), good) == ()


def test_the_bound_by_the_oracle() -> None:
    weth, usdc = Asset("0x" + "1" * 40, "WETH", 18), Asset("0x" + "2" * 40, "USDC", 6)
    prices = {weth.address: 3_000 * 10**8, usdc.address: 10**8}
    request = SwapRequest(weth, usdc, 3_000 * 10**6, prices)
    assert fair_in(request) == WAD
    assert most_sold(request, 0) == WAD
    assert most_sold(request, 100) == WAD * 10_000 // 9_900
    assert most_sold(replace(request, prices_usd={}), 100) is None
    assert most_sold(replace(request, prices_usd={**prices, weth.address: 0}), 100) is None
    with pytest.raises(ValueError, match="slippage"):
        most_sold(request, 10_000)


def test_selectors_are_those_of_the_signatures() -> None:
    assert keccak(text="slot0()")[:4] == uniswap_v3.SLOT0
    assert keccak(text="quoteExactOutput(bytes,uint256)")[:4] == uniswap_v3.QUOTE_EXACT_OUTPUT
