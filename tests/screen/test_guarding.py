"""What a position looks guarded by: its best defence, and plain words where the only rule beside it defends nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import views
from tests.support.views import GUARD, GUARD_TRIGGER, NOW, wad
from tui.engine.history import History
from tui.engine.lookout import Lookout
from tui.engine.publish import Facts, Standing, draw
from tui.model.network import Network
from tui.model.rule import Mode, Rule, Trigger, TriggerKind, close, health_above, health_below
from tui.model.snapshot import Snapshot
from tui.model.view import PositionView, RuleActivity, ViewState
from tui.planning.triggering import FiresAt
from tui.screen.draw.detail import detail_lines
from tui.screen.draw.positions import positions_lines

PRICE = replace(GUARD, goal=close(5000))
BOOST = replace(GUARD, name="boost", trigger=health_above(wad("2.20")))
PROFIT = replace(PRICE, name="take-profit", trigger=Trigger(TriggerKind.PRICE_ABOVE, wad("4000"), "WETH"))
STOP = replace(PRICE, name="stop", trigger=Trigger(TriggerKind.PRICE_BELOW, wad("2900"), "WETH"))
HIGH = replace(PRICE, name="high", trigger=health_above(wad("2.20")))
TELLS = replace(GUARD, name="tells", mode=Mode.NOTIFY)
LAST = replace(GUARD, name="last-ditch", trigger=health_below(wad("1.08")))


def published(rules: tuple[Rule, ...], armed: tuple[str, ...]) -> ViewState:
    """The engine's view of one position of an own account, with these rules of which some are armed."""
    position = views.leveraged()
    account = position.key.account
    facts = Facts(
        network=Network("practice", 31337, 2.0, 2, ()),
        providers=(),
        snapshot=Snapshot(views.BLOCK, (position,)),
        rules=rules,
        faults=(),
        rules_file="rules.toml",
        armed_since=dict.fromkeys(armed, NOW),
        armed_accounts=dict.fromkeys(armed, account),
        verdicts={},
        evaluations={},
        firings=(),
        confirmations=(),
        spent_today={},
        own_accounts=frozenset({account}),
        labels={},
        triggers=(),
        would_stop=(),
        worth_knowing=(),
        halted={},
    )
    return draw(1, Standing(NOW, False, False, None, None, 1.0), facts, History())


@pytest.mark.parametrize(
    ("rules", "armed", "shown", "activity"),
    [
        ((BOOST, PROFIT, GUARD), ("boost", "take-profit", "guard"), "guard", RuleActivity.ARMED),
        ((BOOST, PROFIT, GUARD), ("boost", "take-profit"), "guard", RuleActivity.DISARMED),
        ((BOOST, PROFIT), ("boost",), "take-profit", RuleActivity.DISARMED),
        ((BOOST, STOP), ("boost", "stop"), "stop", RuleActivity.ARMED),
        ((HIGH, STOP), ("high", "stop"), "stop", RuleActivity.ARMED),
        ((BOOST, HIGH), ("boost", "high"), "high", RuleActivity.ARMED),
        ((HIGH, GUARD), ("high",), "guard", RuleActivity.DISARMED),
        ((BOOST,), ("boost",), "boost", RuleActivity.ARMED),
        ((GUARD, LAST), ("last-ditch",), "last-ditch", RuleActivity.ARMED),
        ((GUARD, LAST), ("guard", "last-ditch"), "guard", RuleActivity.ARMED),
        ((TELLS, LAST), ("last-ditch",), "last-ditch", RuleActivity.ARMED),
        ((TELLS, LAST), (), "last-ditch", RuleActivity.DISARMED),
    ],
)
def test_a_position_shows_the_rule_that_defends_it_best(
    rules: tuple[Rule, ...], armed: tuple[str, ...], shown: str, activity: RuleActivity
) -> None:
    (position,) = published(rules, armed).positions
    assert (position.rule, position.rule_activity) == (shown, activity)
    chosen = next(rule for rule in rules if rule.name == shown)
    assert position.trigger_health_factor == chosen.health_factor_below, "the level is that of the rule that is named"


def drawn(view: ViewState, width: int) -> str:
    return "\n".join(row.text for row in positions_lines(view, width, None))


@pytest.mark.parametrize("width", [80, 100, 108, 109, 120, 160])
@pytest.mark.parametrize(
    ("rule", "words"),
    [(PROFIT, "no defence"), (HIGH, "no defence"), (BOOST, "no defence"), (STOP, "price only"), (TELLS, "tells only")],
)
def test_a_rule_that_is_no_defence_of_health_is_said_to_be_none(rule: Rule, words: str, width: int) -> None:
    view = published((rule,), () if rule is TELLS else (rule.name,))
    assert view.positions[0].rule_activity is RuleActivity.ARMED
    assert words in drawn(view, width)
    guarded = drawn(published((rule, GUARD), (rule.name, GUARD.name)), width)
    assert words not in guarded
    assert "guard" in guarded


def test_where_there_is_room_for_a_sign_alone_only_a_defence_has_one() -> None:
    assert "◆" in drawn(published((GUARD,), (GUARD.name,)), 60)
    assert "◆" not in drawn(published((BOOST,), (BOOST.name,)), 60)


def test_every_rule_fires_at_a_level_of_its_own() -> None:
    last = replace(GUARD_TRIGGER, rule="last-ditch", price_usd=views.usd("2750"), health_factor=wad("1.08"))
    view = views.armed()
    shown: PositionView = replace(view.positions[0], trigger_prices=(GUARD_TRIGGER, last))
    said = " ".join(" ".join(row.text for row in detail_lines(view, shown, 100)).split())
    assert "guard fires below 1.15: WETH" in said
    assert "last-ditch fires below 1.08: WETH" in said


def test_the_engine_gives_each_price_the_level_of_its_own_rule() -> None:
    at = FiresAt(views.WETH, views.usd("2750"), -900)
    book: Any = SimpleNamespace(rules_of=lambda position: (GUARD, LAST, STOP))
    prospect: Any = SimpleNamespace(fires_at=lambda rule, position: at)
    unused: Any = None
    lookout = Lookout(book, prospect, unused, unused, unused, unused, ())
    lookout.begin(Snapshot(views.BLOCK, (views.leveraged(),)))
    levels = {one.rule: one.health_factor for one in lookout.triggers}
    assert levels == {"guard": wad("1.15"), "last-ditch": wad("1.08"), "stop": None}


def test_what_closes_where_health_is_high_fires_above_its_level() -> None:
    high = replace(
        GUARD_TRIGGER,
        rule="high",
        price_usd=views.usd("3900"),
        kind=TriggerKind.HEALTH_ABOVE,
        health_factor=wad("2.20"),
    )
    view = views.armed()
    shown: PositionView = replace(view.positions[0], trigger_prices=(high,))
    said = " ".join(" ".join(row.text for row in detail_lines(view, shown, 100)).split())
    assert "high fires above 2.20: WETH $3,900.00" in said
