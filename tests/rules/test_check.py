"""Rules against a live reading: what cannot work, and what will surprise."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.conftest import guard
from tui.model.block import BlockRef
from tui.model.position import Asset, Collateral, Debt, MarketKey, Position, PositionKey, unknown_position
from tui.model.rule import ActionKind, Severity
from tui.model.units import parse_units
from tui.model.wallet import TokenHolding, Wallet
from tui.rules.check import LiveMarket, Outlook, check_live
from tui.rules.load import parse_rules

BLOCK = BlockRef(7, "0xa7", "0xa6", 1_700_000_000, 10**9)
USDC = Asset("0x" + "01" * 20, "USDC", 6)
WETH = Asset("0x" + "02" * 20, "WETH", 18)
DAI = Asset("0x" + "03" * 20, "DAI", 18)
CORE = MarketKey("aave-v3", "core")
KEY = PositionKey(CORE, "0x" + "ab" * 20)
POSITION = Position(KEY, BLOCK, (), (Debt(USDC, 10**6, None, None),), parse_units("1.3", 18), None, None)
MARKET = LiveMarket(CORE, frozenset(ActionKind), (USDC, WETH, DAI), (POSITION,))
TEXT = guard("""\
[[rule.step]]
action = "repay"
asset = "USDC"
[[rule.step]]
action = "add-collateral"
asset = "WETH"
""")


def wallet(**balances: int | None) -> dict[str, Wallet]:
    assets = {"usdc": USDC, "weth": WETH, "dai": DAI}
    tokens = {assets[name].address: TokenHolding(assets[name], balance) for name, balance in balances.items()}
    return {KEY.account: Wallet(KEY.account, 10**18, 0, MappingProxyType(tokens))}


FUNDED = wallet(usdc=1, weth=1, dai=1)


def check(text=TEXT, markets=(MARKET,), wallets=FUNDED, forecast=None) -> list[str]:
    faults = check_live(parse_rules(text, "r.toml"), markets, wallets, forecast)
    assert all(fault.rule == "guard" and fault.fix for fault in faults)
    mark = {Severity.ERROR: "E", Severity.WARNING: "W"}
    return [
        f"{mark[fault.severity]}{fault.line} {fault.field} {fault.what.split(': ', 1)[1]}; {fault.fix}"
        for fault in faults
    ]


def test_nothing_wrong():
    assert check() == []


def test_an_asset_by_address():
    assert check(TEXT.replace('"USDC"', f'"{USDC.address}"')) == []


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("usdc", 'did you mean "USDC"?'),
        ("WBTC", "write one it lists: DAI, USDC, WETH"),
        ("USDX", 'did you mean "USDC"?'),
    ],
)
def test_an_asset_that_the_market_lacks(name, fix):
    found = check(TEXT.replace('"USDC"', f'"{name}"'))
    assert found[0] == f"E9 step.0.asset aave-v3/core lists no {name}; {fix}"


def test_an_asset_that_only_one_of_its_markets_lists_is_a_warning():
    other = LiveMarket(MarketKey("aave-v3", "prime"), frozenset(ActionKind), (USDC,), ())
    found = check(TEXT.replace('"aave-v3/core"', '"*"'), (MARKET, other))
    assert found == ["W12 step.1.asset aave-v3/prime lists no WETH; write one it lists: USDC"]


def test_a_symbol_of_two_assets():
    twin = Asset("0x" + "09" * 20, "USDC", 6)
    found = check(markets=(replace(MARKET, assets=(*MARKET.assets, twin)),))
    assert found == [
        "E9 step.0.asset aave-v3/core lists 2 assets called USDC; "
        f'write its address: "{USDC.address}" or "{twin.address}"'
    ]


def test_an_action_that_the_market_cannot_do():
    found = check(markets=(replace(MARKET, actions=frozenset({ActionKind.REPAY})),))
    assert found == ['E11 step.1.action add-collateral is not possible in aave-v3/core; write "repay"']


def test_a_market_that_is_not_there():
    found = check(TEXT.replace("aave-v3/core", "aave-v3/cor"))
    assert found == ['E3 position no market aave-v3/cor is configured here; did you mean "aave-v3/core"?']


def test_no_market_at_all():
    assert check(markets=()) == ['E3 position no market aave-v3/core is configured here; write "*"']


def test_a_market_that_could_not_be_read_is_said_and_not_judged():
    found = check(markets=(replace(MARKET, assets=(), positions=(), error="timeout"),))
    assert found == ["W3 position aave-v3/core could not be read (timeout); check again once it can be read"]


def test_an_account_that_nobody_watches():
    found = check(TEXT.replace("aave-v3/core", f"aave-v3/core/0x{'cd' * 20}"))
    assert found == ["W3 position no watched account matches it; add the account to those you watch, or mend it"]


def test_an_unknown_position_is_said():
    found = check(markets=(replace(MARKET, positions=(unknown_position(KEY, BLOCK, "oracle\x1b[2J fails"),)),))
    assert found == [
        "W3 position aave-v3/core/0xabab…abab is unknown now (oracle[2J fails); "
        "nothing fires on it until it can be read"
    ]


def test_a_trigger_above_the_health_of_now_fires_at_once():
    low = replace(POSITION, health_factor=parse_units("1.2499999", 18))
    found = check(markets=(replace(MARKET, positions=(low,)),))
    assert found == [
        "W5 when.health_factor_below aave-v3/core/0xabab…abab is at 1.2499 already, below the trigger: "
        "it fires at once; "
        "write a lower trigger if that is not meant"
    ]
    equal = replace(POSITION, health_factor=parse_units("1.25", 18))
    assert check(markets=(replace(MARKET, positions=(equal,)),)) == []


def test_a_repay_of_what_is_not_owed():
    found = check(TEXT.replace('"USDC"', '"DAI"'))
    assert found == ["W9 step.0.asset aave-v3/core/0xabab…abab owes no DAI: the step does nothing there; it owes USDC"]


def test_no_debt_yet_is_no_surprise():
    assert check(markets=(replace(MARKET, positions=(replace(POSITION, debt=(), health_factor=None),)),)) == []


@pytest.mark.parametrize("wallets", [{}, wallet(usdc=1), wallet(usdc=1, weth=None)])
def test_a_balance_that_was_not_read_is_not_zero(wallets):
    assert check(wallets=wallets)[-1].startswith("W12 step.1.asset the WETH in the wallet of")


def test_an_empty_wallet():
    found = check(wallets=wallet(usdc=1, weth=0))
    assert found == [
        "W12 step.1.asset the wallet of aave-v3/core/0xabab…abab holds no WETH; send WETH to it before you arm the rule"
    ]


def test_a_target_out_of_reach_says_how_far_it_gets():
    outlook = Outlook(False, parse_units("1.32", 18), "1,200 USDC short")
    found = check(forecast=lambda rule, position: outlook if (rule.name, position.id) == ("guard", str(KEY)) else None)
    assert found == [
        "W6 target.health_factor aave-v3/core/0xabab…abab gets to 1.3200 only, not 1.5 (1,200 USDC short); "
        "fund the wallet, raise a max or add a step"
    ]
    assert check(forecast=lambda rule, position: Outlook(True, parse_units("1.5", 18))) == []


def test_a_rule_that_only_notifies_needs_no_funds():
    assert (
        check(TEXT.replace('"auto"', '"notify"'), wallets={}, forecast=lambda rule, position: Outlook(False, None))
        == []
    )


SALE = guard(
    """\
[[rule.step]]
action = "deleverage"
collateral = "WETH"
debt = "USDC"
max_slippage = "0.5%"
[[rule.step]]
action = "repay-with-atokens"
asset = "USDC"
""",
    "1.02",
    "1.05",
)


def supplied(asset: Asset, threshold: str, *, amount: int = 1, counts: bool = True) -> Collateral:
    return Collateral(asset, amount, 10**8, 10**8, parse_units(threshold, 18), counts)


def holding(*collateral: Collateral, **changes: object) -> tuple[LiveMarket, ...]:
    position = replace(POSITION, collateral=collateral, **changes)
    return (replace(MARKET, positions=(position,)),)


SOUND = holding(supplied(WETH, "0.83"), supplied(USDC, "0.78"))


def test_sales_ask_nothing_of_the_wallet():
    assert check(SALE, SOUND, {}) == []


def test_assets_of_a_sale_that_the_market_lacks():
    found = check(SALE.replace('"WETH"', '"WTEH"').replace('debt = "USDC"', 'debt = "GHO"'), SOUND, {})
    assert found == [
        'E9 step.0.collateral aave-v3/core lists no WTEH; did you mean "WETH"?',
        "E10 step.0.debt aave-v3/core lists no GHO; write one it lists: DAI, USDC, WETH",
    ]


def test_a_market_without_sales_names_what_it_can_and_what_it_wants():
    can = frozenset({ActionKind.REPAY, ActionKind.REPAY_WITH_ATOKENS})
    found = check(SALE, (replace(SOUND[0], actions=can),), {})
    assert found == [
        'E8 step.0.action deleverage is not possible in aave-v3/core; write "repay" or "repay-with-atokens"; '
        "sales want router02 in the network file's [[swap]] table, and no other helper than this market's under "
        "[helpers]: `trimtab helper verify` tells"
    ]
    other = LiveMarket(MarketKey("aave-v3", "prime"), can, (USDC, WETH), ())
    found = check(SALE.replace('"aave-v3/core"', '"*"'), (*SOUND, other), {})
    assert found[0].startswith("W8 step.0.action deleverage is not possible in aave-v3/prime; ")


def test_a_market_that_can_do_nothing():
    found = check(SALE, (replace(SOUND[0], actions=frozenset()),), {})
    assert found[1] == (
        "E13 step.1.action repay-with-atokens is not possible in aave-v3/core; remove the step, or name another market"
    )


def test_nothing_supplied_and_nothing_owed_is_said():
    found = check(SALE, holding(supplied(DAI, "0.77"), supplied(WETH, "0.83", amount=0)), {})
    assert found == [
        "W9 step.0.collateral aave-v3/core/0xabab…abab has supplied no WETH: the step does nothing there; "
        "it has supplied DAI",
        "W14 step.1.asset aave-v3/core/0xabab…abab has supplied no USDC: the step does nothing there; "
        "it has supplied DAI",
    ]
    owing_dai = holding(*SOUND[0].positions[0].collateral, debt=(Debt(DAI, 5, None, None),))
    assert check(SALE, owing_dai, {}) == [
        "W10 step.0.debt aave-v3/core/0xabab…abab owes no USDC: the step does nothing there; it owes DAI",
        "W14 step.1.asset aave-v3/core/0xabab…abab owes no USDC: the step does nothing there; it owes DAI",
    ]


def test_a_symbol_and_an_address_of_the_same_asset():
    found = check(SALE.replace('debt = "USDC"', f'debt = "{WETH.address}"'), SOUND, {})
    assert found[0] == (
        f"E10 step.0.debt in aave-v3/core the step sells {WETH.address} for itself; name another asset to sell"
    )
    twice = SALE + SALE[SALE.index("[[rule.step]]") : SALE.rindex("[[rule.step]]")]
    head, _, tail = twice.rpartition('"WETH"')
    found = check(f'{head}"{WETH.address}"{tail}', SOUND, {})
    assert found == [
        "E17 step.2.collateral in aave-v3/core the step sells what step 1 sells, for the same debt; keep one of the two"
    ]


def test_what_is_in_the_wallet_and_what_is_supplied_of_the_same_asset_may_both_be_sold():
    swap = '[[rule.step]]\naction = "repay"\nasset = "USDC"\nswap_from = "WETH"\nmax_slippage = "1%"\n'
    start = SALE.index("[[rule.step]]")
    assert not [one for one in check(SALE[:start] + swap + SALE[start:], SOUND) if "sells what" in one]


def test_a_sale_that_cannot_raise_health_to_the_target():
    """Selling at a loss k moves health towards LT / (1 - k): 0.95 / 0.90 = 1.0555 here, above the target."""
    text = SALE.replace("0.5%", "10%")
    found = check(text, holding(supplied(WETH, "0.95"), supplied(USDC, "0.78")), {})
    assert found == [
        "E11 step.0.max_slippage sold at a loss of 10%, WETH (liquidation threshold 95%) cannot raise health to 1.05; "
        'write a target of "1.06" or more, or a max_slippage of "9.52%" or less'
    ]
    # What it names does.
    assert check(text.replace('"1.05"', '"1.06"'), holding(supplied(WETH, "0.95"), supplied(USDC, "0.78")), {}) == []
    assert check(text.replace("10%", "9.52%"), holding(supplied(WETH, "0.95"), supplied(USDC, "0.78")), {}) == []
    assert check(text.replace("10%", "9.53%"), holding(supplied(WETH, "0.95"), supplied(USDC, "0.78")), {}) != []


def test_a_sale_of_what_does_not_count_as_collateral_can_only_help():
    held = holding(supplied(WETH, "0.95", counts=False), supplied(USDC, "0.78"))
    assert check(SALE.replace("0.5%", "10%"), held, {}) == []


def test_a_sale_that_fails_on_one_of_two_accounts_is_a_warning():
    other = replace(
        POSITION, key=PositionKey(CORE, "0x" + "cd" * 20), collateral=(supplied(WETH, "0.8"), supplied(USDC, "0.7"))
    )
    first = holding(supplied(WETH, "0.95"), supplied(USDC, "0.78"))[0]
    found = check(SALE.replace("0.5%", "10%"), (replace(first, positions=(*first.positions, other)),), {})
    assert [one[:25] for one in found] == ["W11 step.0.max_slippage s"]


def test_a_sale_on_an_unknown_position_is_not_judged():
    unknown = (replace(MARKET, positions=(unknown_position(KEY, BLOCK, "no answer"),)),)
    assert [one[:12] for one in check(SALE.replace("0.5%", "10%"), unknown, {})] == ["W3 position "]


@given(
    threshold=st.integers(1, 98_00), slippage=st.integers(1, 2000), target=st.integers(101_00, 150_00),
)  # fmt: skip
def test_the_bound_of_a_sale_is_exact(threshold, slippage, target):
    """Refused exactly where a sale of everything at the whole loss never passes the target on its way."""
    text = SALE.replace('"1.02"', '"1.001"').replace('"1.05"', f'"{target // 10000}.{target % 10000:04d}"')
    text = text.replace("0.5%", f"{slippage // 100}.{slippage % 100:02d}%")
    held = holding(supplied(WETH, f"0.{threshold:04d}"), supplied(USDC, "0.78"))
    found = check(text, held, {})
    # Fractions of 1e-8: T * (1 - k) against LT.
    assert bool(found) == (target * (10_000 - slippage) <= threshold * 10_000)


# -- rules that wait for a price

PRICED = """\
[[rule]]
name = "guard"
position = "aave-v3/core"
mode = "auto"
when = {when}
target = {{ close = "50%" }}
[[rule.step]]
action = "repay"
asset = "USDC"
"""
USD_8 = 10**8


def priced(when: str, *, at: int = 2_000, liquidation: int | None = 1_600) -> list[str]:
    threshold = parse_units("0.8", 18)
    held = Collateral(
        WETH, 10**18, at * USD_8, at * USD_8, threshold, counts=True,
        liquidation_price_usd=None if liquidation is None else liquidation * USD_8,
    )  # fmt: skip
    position = replace(POSITION, collateral=(held,), debt=(Debt(USDC, 10**9, USD_8, 1_000 * USD_8),))
    return check(PRICED.format(when=when), (replace(MARKET, positions=(position,)),))


def test_a_price_trigger_with_nothing_wrong():
    assert priced('{ price_of = "WETH", below = "1900" }') == []
    assert priced('{ price_of = "WETH", trailing = "5%" }') == []
    assert priced('{ price_of = "WETH", in = "USDC", above = "3000" }') == []


def test_assets_that_a_trigger_names_are_looked_for():
    assert priced('{ price_of = "weth", below = "1900" }') == [
        'E5 when.price_of aave-v3/core lists no weth; did you mean "WETH"?'
    ]
    assert priced('{ price_of = "WETH", in = "WBTC", below = "1900" }') == [
        "E5 when.in aave-v3/core lists no WBTC; write one it lists: DAI, USDC, WETH"
    ]


def test_a_price_in_the_asset_itself_is_none():
    said, _ = priced(f'{{ price_of = "WETH", in = "{WETH.address}", below = "2" }}')
    assert said.startswith("E5 when.in in aave-v3/core WETH/0x0202…0202 is the price of an asset in itself; ")


def test_a_stop_beyond_liquidation_names_both_prices():
    (said,) = priced('{ price_of = "WETH", below = "1600" }')
    assert said == (
        "E5 when.below aave-v3/core/0xabab…abab is liquidated at WETH 1,600.00, before it is below 1,600: "
        "the rule would come too late; write a price above 1,600.00, with room to act in"
    )
    assert priced('{ price_of = "WETH", below = "1600.01" }') == []
    assert priced('{ price_of = "WETH", below = "1600" }', liquidation=None) == []
    told = PRICED.format(when='{ price_of = "WETH", below = "1600" }').partition("target")[0].replace("auto", "notify")
    assert parse_rules(told, "r.toml").faults == ()


def test_a_price_that_is_there_already_is_told():
    assert priced('{ price_of = "WETH", above = "1999" }') == [
        "W5 when.above aave-v3/core/0xabab…abab: WETH 2,000.00 above 1,999 already: it fires at once; "
        "write a higher price if that is not meant"
    ]
    assert priced('{ price_of = "WETH", below = "2001" }') == [
        "W5 when.below aave-v3/core/0xabab…abab: WETH 2,000.00 below 2,001 already: it fires at once; "
        "write a lower price if that is not meant"
    ]
