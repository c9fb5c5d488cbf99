"""What panes say, without a terminal: every state at every width, nothing unknown that looks safe."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import views
from tui.engine.facade import ArmingReport
from tui.model.position import Status, status_of
from tui.model.rule import Goal, RuleProblem, Trigger, TriggerKind, close, health_above, restore
from tui.model.units import USD, WAD
from tui.model.view import PricePoint, ProviderView, TriggerPrice, ViewState, empty_view
from tui.screen.departure import departure_lines, farewell, release_lines
from tui.screen.draw.activity import activity_lines
from tui.screen.draw.chart import Level, chart
from tui.screen.draw.detail import detail_lines
from tui.screen.draw.gauge import HEAD_MARK, THRESHOLD_MARK, gauge, gauge_labels
from tui.screen.draw.levels import nearest_liquidation
from tui.screen.draw.plan import confirmation_lines
from tui.screen.draw.positions import header, positions_lines
from tui.screen.draw.rules import rules_lines
from tui.screen.draw.status import Local, status_lines
from tui.screen.lines import Line, width_of

VIEWS: dict[str, Callable[[], ViewState]] = {
    name: getattr(views, name)
    for name in ("armed", "watching", "blind", "held", "killed", "unknown", "confirming", "firing", "hostile")
}
VIEWS["empty"] = lambda: empty_view("practice", 31337, 2.0)
WIDTHS = (30, 50, 67, 68, 80, 107, 108, 120, 160, 200)


def everything(view: ViewState, width: int) -> dict[str, Sequence[Line]]:
    """Every pane of a view."""
    local = Local(views.NOW)
    chosen = view.positions[0] if view.positions else None
    drawn: dict[str, Sequence[Line]] = {
        "status": status_lines(view, local, width),
        "positions": positions_lines(view, width, chosen.position.id if chosen else None),
        "rules": rules_lines(view, width, None, views.NOW),
        "activity": activity_lines(view, width, UTC),
    }
    for index, shown in enumerate(view.positions):
        drawn[f"detail-{index}"] = detail_lines(view, shown, width)
    for waiting in view.confirmations:
        drawn["plan"] = confirmation_lines(waiting, chosen, width)
    return drawn


def text(lines: Sequence[Line]) -> str:
    """Lines as text."""
    return "\n".join(one.text for one in lines)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", VIEWS)
def test_no_line_is_wider_than_its_pane(name: str, width: int) -> None:
    for pane, lines in everything(VIEWS[name](), width).items():
        for one in lines:
            assert width_of(one.spans) <= width, (pane, one.text)


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_text_reaches_no_pane(width: int) -> None:
    for lines in everything(views.hostile(), width).values():
        for character in text(lines):
            assert character == "\n" or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}


@pytest.mark.parametrize("width", [50, 80, 120])
def test_unknown_is_said_with_its_reason_and_no_number(width: int) -> None:
    view = views.unknown()
    row = text([one for one in positions_lines(view, width, None) if one.tag == view.positions[0].position.id])
    assert "unknown" in row
    assert "health factor" in row.replace("\n", " ")
    assert "safe" not in row
    assert "$0" not in row
    assert "0.0" not in row
    detail = text(detail_lines(view, view.positions[0], width))
    assert "unknown:" in detail
    assert "$" not in detail
    assert "safe" not in detail


@pytest.mark.parametrize("width", WIDTHS)
def test_a_blind_screen_says_so_and_never_says_safe(width: int) -> None:
    view = views.blind()
    drawn = everything(view, width)
    banner = text(drawn["status"])
    assert "BLIND" in banner
    assert "74 s ago" in banner
    assert "LATE" in banner or width < 40
    shown = text(drawn["positions"])
    assert "● safe" not in shown
    assert "▲ at risk" not in shown
    assert "was safe" in shown
    roles = {span.role for one in drawn["positions"] for span in one.spans if HEAD_MARK in span.text}
    assert roles <= {"stale"}
    assert "next to fire: unknown" in banner or width < 40


def test_status_ages_with_the_clock() -> None:
    view = views.armed()
    assert " 1 s ago" in text(status_lines(view, Local(views.NOW), 120))
    assert " 6 s ago" in text(status_lines(view, Local(views.NOW + 5), 120))
    late = text(status_lines(view, Local(views.NOW + 60), 120))
    assert "61 s ago LATE" in late


@pytest.mark.parametrize(
    ("name", "word"),
    [("armed", "ARMED"), ("watching", "WATCHING"), ("held", "HELD"), ("killed", "KILL SWITCH"), ("empty", "READ-ONLY")],
)
def test_status_says_the_state_and_why(name: str, word: str) -> None:
    view = VIEWS[name]()
    for width in (50, 80, 120, 200):
        said = text(status_lines(view, Local(views.NOW), width))
        assert word in said
        assert view.protection_why[:12] in said


@pytest.mark.parametrize("width", WIDTHS)
def test_the_reason_of_a_hold_is_never_cut(width: int) -> None:
    for view in (views.held(), views.killed()):
        said = text(status_lines(view, Local(views.NOW), width)).replace("\n", " ")
        for word in view.protection_why.split():
            assert word in said


def test_status_before_the_engine_and_when_it_failed() -> None:
    view = VIEWS["empty"]()
    assert "STARTING" in text(status_lines(view, Local(views.NOW, ready=False), 80))
    failed = text(status_lines(view, Local(views.NOW, ready=False, failed="no node at all"), 80))
    assert "NOT STARTED" in failed
    assert "no node at all" in failed
    asked = text(status_lines(views.armed(), Local(views.NOW, kill_asked=True), 80))
    assert "KILL SWITCH" in asked


def test_status_names_what_fires_next_and_at_which_price() -> None:
    said = text(status_lines(views.armed(), Local(views.NOW), 120))
    assert "guard at WETH $2,933.36 −2.62%" in said
    assert "nodes ok 2/2 12 ms" in said
    assert "base fee 12.3 gwei" in said
    assert "1 plan waits for your yes" in text(status_lines(views.confirming(), Local(views.NOW), 120))


def test_positions_show_what_a_trader_asks_for() -> None:
    said = text(positions_lines(views.armed(), 120, None))
    for part in (
        "aave-v3 core", "main", "$31,576 WETH", "$22,188 USDC", "1.1810 ▲ at risk", "WETH $2,550.75", "−15.32%",
        "−2.17%", "◆ armed · auto", "staked loop", "· unguarded", "1.7124 ● safe", "0x90f7…b906",
    ):  # fmt: skip
        assert part in said, part


def test_the_header_stands_over_its_columns() -> None:
    for width in (108, 120, 150, 200):
        top = header(width)
        assert top is not None
        rows = positions_lines(views.armed(), width, None)
        assert rows[1].text.index("$31,576") + len("$31,576") == top.text.index("SUPPLIED") + len("SUPPLIED")
        assert rows[1].text.index("−2.17%") + len("−2.17%") == top.text.index("NET APY") + len("NET APY")
    assert header(80) is None


@pytest.mark.parametrize("columns", [76, 80, 85, 100, 105, 109, 110, 115, 120, 130])
def test_names_and_prices_are_whole_at_every_width(columns: int) -> None:
    width = columns - 1
    rows = positions_lines(views.armed(), width, None)
    said = text(rows)
    for part in ("main", "staked loop", "0x90f7…b906", "1.0441", "−15.32%"):
        assert part in said, part
    if header(width) is not None:
        assert said.count("aave-v3 core") == 3
        assert "MARKET" in rows[0].text
        assert "guard" in said
        assert "$149,326 wstETH " in said
    if width >= 76:
        for price in ("$2,550.75", "$3,394.10", "$1,330.59"):
            assert price in said


@pytest.mark.parametrize("lead", ["", "http://127.0.0.1:8545 "])
@pytest.mark.parametrize("width", [50, 80, 110])
def test_a_start_without_a_node_says_what_is_wrong_with_it(width: int, lead: str) -> None:
    view = VIEWS["empty"]()
    why = "cannot be reached (ConnectError)"
    chain = replace(view.chain, providers=(ProviderView("http://127.0.0.1:8545", "failing", None, lead + why),))
    said = text(status_lines(replace(view, chain=chain), Local(views.NOW), width))
    assert f"http://127.0.0.1:8545: {why}" in " ".join(said.split())
    assert "waiting for the first block" in " ".join(said.split())
    if width >= 80:
        assert "nodes 0/1 ok, cannot be" in said
        assert "next to fire: unknown while blind" in said
    told = replace(view, chain=replace(chain, blind=f"http://127.0.0.1:8545: {why}"))
    drawn = " ".join(text(status_lines(told, Local(views.NOW), width)).split())
    assert drawn.partition("✖ BLIND")[2].count(why) == 1


@pytest.mark.parametrize("width", [40, 80, 110])
def test_degraded_throttled_and_a_relay_that_fails_are_on_the_status_lines(width: int) -> None:
    why = "Degraded: fewer nodes than must agree, so daily limits are halved and nothing is sold; b does not answer."
    view = replace(views.armed(), degraded="b does not answer", protection_why=why)
    rows = status_lines(view, Local(views.NOW), width)
    said = text(rows)
    assert "ARMED, DEGRADED" in said
    assert "Degraded: fewer nodes" in said
    assert all(width_of(row.spans) <= width for row in rows)
    relay = ProviderView("https://relay.example/***", "failing", None, "last answer: no-answer", "relay")
    node = replace(view.chain.providers[0], detail="throttled: reads wait for the budget of 4 requests a second")
    shown = replace(views.armed(), chain=replace(view.chain, providers=(node, relay)))
    drawn = text(status_lines(shown, Local(views.NOW), 140))
    assert "● node ok" in drawn, "a relay is no node"
    assert "throttled" in drawn
    assert "▲ relay failing" in drawn


def test_a_banner_that_is_too_long_says_that_there_is_more() -> None:
    nodes = tuple(ProviderView(f"https://node-{n}.example", "failing", None, "no answer") for n in range(30))
    view = replace(views.blind(), chain=replace(views.blind().chain, providers=nodes))
    for width in (30, 50, 80):
        rows = status_lines(view, Local(views.NOW), width)
        assert rows[-1].text.endswith("…")
        assert all(width_of(row.spans) <= width for row in rows)


def test_releasing_the_kill_switch_names_what_becomes_live() -> None:
    said = text(release_lines(views.killed()))
    assert "guard becomes live again at once." in said
    assert "guard signs and sends by itself" in said
    assert "calm" not in said
    waits = text(release_lines(replace(views.killed(), held="Two nodes disagree."))).replace("\n ", "")
    assert "guard becomes live again when you resume it" in waits
    assert "at once" not in waits
    assert "Nothing is armed" in text(release_lines(views.watching()))
    other = text(release_lines(replace(views.watching(), read_only=True))).replace("\n", " ")
    assert "Nothing is armed" not in other
    assert "what is armed there becomes live again at once" in other


def test_an_empty_engine_is_not_an_empty_account() -> None:
    view = VIEWS["empty"]()
    assert "Starting" in text(positions_lines(view, 80, None, ready=False))
    assert "cannot be read" in text(positions_lines(view, 80, None))
    seen = replace(view, chain=replace(views.chain()))
    assert "No positions" in text(positions_lines(seen, 80, None))


def test_the_nearest_liquidation_counts_assets_that_move_together() -> None:
    nearest = nearest_liquidation(views.mixed())
    assert nearest is not None
    assert (nearest.symbol, nearest.together) == ("WETH", 2)
    assert nearest_liquidation(views.no_debt()) is None
    lost = views.unknown().positions[0].position
    assert nearest_liquidation(lost) is None


def test_detail_shows_assets_limits_and_correlated_moves() -> None:
    view = views.armed()
    said = text(detail_lines(view, view.positions[2], 100))
    for part in (
        "55.5000",
        "$3,012.44",
        "83%",
        "off",
        "WETH, wstETH moving together",
        "$1,330.59",
        "−55.83%",
        "90,000.00",
    ):
        assert part in said, part
    assert "supply cap is 97% used" in said
    assert "never liquidated" in said


@given(
    st.integers(4, 160),
    st.integers(0, 5 * WAD),
    st.none() | st.integers(WAD, 3 * WAD),
    st.none() | st.integers(WAD, 4 * WAD),
)
def test_a_gauge_fills_its_width_and_always_shows_health(
    width: int, value: int, trigger: int | None, target: int | None
) -> None:
    spans = gauge(width, value, status_of(value, None), trigger, target)
    rail = "".join(span.text for span in spans)
    assert len(rail) == width
    assert (HEAD_MARK in rail) or ("▶" in rail)
    assert width_of(gauge_labels(max(width, 8), trigger, target).spans) <= max(width, 8)


@given(st.integers(20, 160), st.integers(9 * WAD // 10, 2 * WAD))
def test_the_head_lies_on_its_side_of_the_threshold(width: int, value: int) -> None:
    rail = "".join(span.text for span in gauge(width, value, status_of(value, None)))
    if THRESHOLD_MARK in rail and HEAD_MARK in rail:
        assert (rail.index(HEAD_MARK) > rail.index(THRESHOLD_MARK)) == (value > WAD) or abs(value - WAD) < WAD // 10


def test_a_gauge_of_nothing_is_no_gauge_of_safety() -> None:
    for status, word in ((Status.UNKNOWN, "unknown"), (Status.NO_DEBT, "no debt")):
        rail = "".join(span.text for span in gauge(60, None, status))
        assert word in rail
        assert HEAD_MARK not in rail
        assert "━" not in rail
    hidden = "".join(span.text for span in gauge(60, 2 * WAD, Status.UNKNOWN))
    assert HEAD_MARK not in hidden


@given(
    st.lists(st.integers(1, 10**13), min_size=1, max_size=50),
    st.lists(st.integers(1, 10**13), max_size=3),
    st.integers(5, 140),
    st.integers(1, 30),
)
def test_a_chart_keeps_to_its_box(prices: list[int], levels: list[int], width: int, height: int) -> None:
    points = [PricePoint(1_790_000_000 + 12 * index, value) for index, value in enumerate(prices)]
    rows = chart(points, [Level(value, "trigger", "trigger") for value in levels], width, height, UTC)
    if len(rows) > 1:
        assert len(rows) == height
        assert all(width_of(row.spans) <= width for row in rows)


def test_a_chart_names_its_levels_even_far_away() -> None:
    points = [PricePoint(1_790_000_000 + 12 * index, (3000 + index) * USD) for index in range(40)]
    said = text(
        chart(
            points, [Level(2900 * USD, "trigger", "trigger"), Level(900 * USD, "liquidation", "threshold")], 80, 16, UTC
        )
    )
    assert "$2,900.00 trigger" in said
    assert "$900.00 liquidation" in said
    assert "$3,039.00" in said
    assert said.count("╌") > 20


def test_rules_say_state_target_spending_and_faults() -> None:
    said = text(rules_lines(views.armed(), 60, "guard", views.NOW))
    for part in ("guard", "auto", "◆ armed 66 min", "below 1.15 for 2 blocks → 1.50", "today $5,213 of $50,000"):
        assert part in said, part
    assert "repay 5,214.20 USDC" in said
    stops, _, knowing = said.partition("Worth knowing")
    assert "What would stop a defence now\n▲ guard: the price of WETH" in stops
    assert "5,000.00 USDC" not in stops
    assert "5,000.00 USDC" in knowing
    roles = {span.role for one in rules_lines(views.armed(), 60, None, 0)[-2:] for span in one.spans}
    assert roles == {"muted"}
    only = replace(views.armed(), would_stop=())
    assert "What would stop" not in text(rules_lines(only, 60, None, 0))
    assert "nothing is defended" in text(rules_lines(VIEWS["empty"](), 60, None, views.NOW))


def test_activity_shows_every_state_of_what_is_under_way() -> None:
    said = text(activity_lines(views.firing(), 90, UTC))
    for part in (
        "guard running",
        "✓ approve exactly",
        "final",
        "nonce 8",
        "bumped 1 time",
        "sent, awaiting a block",
        "1.1480 → 1.5004",
    ):
        assert part in said, part
    order = [said.index(part) for part in ("guard repaid", "simulation disagrees", "Watching 3")]
    assert order == sorted(order)


def test_a_confirmation_shows_words_calldata_and_costs() -> None:
    view = views.confirming()
    said = text(confirmation_lines(view.confirmations[0], view.positions[0], 90))
    for part in (
        "1.1480 ▲ at risk", "1.5004 ● safe", "simulated at block 19,482,113", "repay 5,214.20 USDC", "$0.41",
        "approve exactly", "0x573ade81", "7".rjust(64, "0"), "120.0 gwei", "$1,109.44",
    ):  # fmt: skip
        assert part in said, part
    unsure = replace(
        view.confirmations[0], plan=replace(view.confirmations[0].plan, simulated=False, shortfall="too little")
    )
    said = text(confirmation_lines(unsure, None, 90))
    assert "NOT SIMULATED" in said
    assert "falls short: too little" in said
    less = replace(
        view.confirmations[0], plan=replace(view.confirmations[0].plan, left_out=("deleverage: simulated, it fails",))
    )
    assert "left out: deleverage: simulated, it fails" in text(confirmation_lines(less, None, 90))


def test_leaving_names_what_is_armed_and_under_way() -> None:
    said = text(departure_lines(views.firing(), unsaved=True))
    for part in ("guard", "firing", "running", "not saved", "Nothing is watched"):
        assert part in said, part
    assert "nothing is watched" in farewell(views.armed(), ["guard"], [], 1)
    assert "Disarmed: guard." in farewell(views.armed(), ["guard"], [], 0)
    assert "Could not disarm: guard: no." in farewell(views.armed(), [], ["guard: no"], 0)
    read_only = replace(views.armed(), read_only=True)
    assert "goes on" in farewell(read_only, [], [], 0)
    assert "guard" not in text(departure_lines(read_only, unsaved=False))


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        (close(5_000), "fires above 2.20 and closes 50% of the debt"),
        (restore(views.wad("1.90")), "fires above 2.20 and goes to 1.90"),
    ],
)
def test_an_arming_report_says_on_which_side_of_health_it_fires(goal: Goal, said: str) -> None:
    from tui.screen.dialogs.arm import report_lines

    entry = views.watching().rules[0]
    high = replace(entry, rule=replace(entry.rule, trigger=health_above(views.wad("2.20")), goal=goal))
    assert said in text(report_lines(None, high, 70))


def test_an_arming_report_says_what_it_trails_and_where_that_is_now() -> None:
    from tui.screen.dialogs.arm import report_lines

    entry, trailed = views.watching().rules[0], Trigger(TriggerKind.HEALTH_TRAILING, 0, None, None, 1_000)
    stop = replace(entry, rule=replace(entry.rule, trigger=trailed, goal=close(5_000)))
    at = TriggerPrice(stop.rule.name, "p", views.WETH, views.usd("2710"), -842, trailed.kind,
                      health_factor=views.wad("1.244999999999999999"))  # fmt: skip
    said = text(report_lines(None, stop, 70, (at,)))
    assert "fires with health 10% under its best and closes 50% of the debt" in said
    assert "now that is at health 1.2449, WETH $2,710.00" in said


def test_an_arming_report_lists_everything() -> None:
    from tui.screen.dialogs.arm import report_lines

    report = ArmingReport("guard", views.ALICE, "/k.json", ("up to 5 USDC",), ("no gas",), ("no key",))
    said = text(report_lines(report, views.watching().rules[0], 70))
    for part in ("auto:", "up to 5 USDC", "▲ no gas", "✖ no key", "0x7099…79c8", "/k.json"):
        assert part in said, part


def test_what_refuses_arming_is_shown_whole_with_its_mends() -> None:
    from tui.screen.dialogs.arm import report_lines

    problem = RuleProblem(
        "out-of-reach",
        None,
        f"where it fires, with what is there now, it gets to 1.3235, not to 1.50 ({'; '.join(['it lacks it'] * 12)})",
        "fund the wallet, raise a max, add a step, or write partial = true to have it armed for as far as it gets",
        decisive=True,
    )
    report = ArmingReport("guard", views.ALICE, "/k.json", (), (), (str(problem),))
    said = " ".join(text(report_lines(report, views.watching().rules[0], 70)).split())
    assert "✖ where it fires, with what is there now, it gets to 1.3235, not to 1.50" in said
    assert "or write partial = true to have it armed for as far as it gets" in said
