"""What keeps an armed rule from acting reaches who is not looking: by an alert, the headline, the rule's own line."""

from __future__ import annotations

import re

import pytest

from tests.support.fault_rig import FaultRig, OpenRig
from tui.model.alert import Alert, AlertKind
from tui.model.intent import FiringState
from tui.model.view import RuleActivity
from tui.notify.tracker import Tracker

pytestmark = pytest.mark.node


def listen(rig: FaultRig) -> list[Alert]:
    """Everything that would be sent from now on."""
    tracker, sent = Tracker(frozenset(AlertKind), 600.0), list[Alert]()
    rig.wired.engine.subscribe(lambda view: sent.extend(tracker.see(view, rig.clock.monotonic())))
    rig.wired.engine.publish()  # what the first view shows happened earlier, and is no news
    return sent


def of_kind(sent: list[Alert], kind: AlertKind) -> list[str]:
    return [alert.text for alert in sent if alert.kind is kind]


async def price_rule(rig: FaultRig, old: str, new: str, *, notify: bool = False) -> None:
    """The rule waits for WETH below 2,900 dollars instead of a health factor."""
    text = rig.rules.read_text().replace('health_factor_below = "1.25"', 'price_of = "WETH", below = "2900"')
    text = text.replace('health_factor = "1.50"', 'health_factor = "1.60"').replace(old, new)
    if notify:
        text = re.sub(r"target.*\n", "", text.replace('"auto"', '"notify"')).split("[[rule.step]]")[0]
    rig.rules.write_text(text)
    await rig.mine()


async def test_52_a_rule_that_old_prices_hold_back_is_told_and_is_in_the_headline(open_faulty: OpenRig) -> None:
    """The feed is three days old, and the armed rule does not fire: told once, and once more when that is over."""
    rig = await open_faulty()
    sent = listen(rig)
    rig.chain.rpc("evm_increaseTime", 3 * 24 * 3600)
    rig.clock.advance(3 * 24 * 3600)
    await rig.mine(3)
    assert rig.view.protection_why.startswith("Armed, but guard is held back: the price of WETH is 72 h old")
    (told,) = of_kind(sent, AlertKind.HELD)
    assert "is held back: the price of WETH" in told
    rig.chain.set_price("WETH", "3000")
    rig.chain.set_price("USDC", "1")
    await rig.mine()
    assert rig.view.protection_why == "Rule armed: guard."
    (over,) = of_kind(sent, AlertKind.ALIVE_AGAIN)
    assert over.startswith("alive again: over: guard on 0x")


async def test_a_stop_that_is_refused_beyond_its_price_is_told_as_long_as_it_lasts(open_faulty: OpenRig) -> None:
    """The price is there, and acting would cost more than the rule allows: one alert, not one a block."""
    rig = await open_faulty()
    await price_rule(rig, 'max_cost_usd = "200"', 'max_cost_usd = "0.000001"')
    await rig.arm()
    sent = listen(rig)
    rig.chain.set_price("WETH", "2850")
    await rig.mine(5)
    (told,) = of_kind(sent, AlertKind.FAILED)
    assert "guard on 0x" in told
    assert "cannot act: " in told
    assert "over the rule's $0.00" in told
    (rule,) = rig.view.rules
    assert rule.activity is RuleActivity.HELD
    assert rule.detail.startswith("cannot act: ")
    assert any("cannot act" in line for line in rig.view.would_stop)
    rig.chain.set_price("WETH", "3000")
    await rig.mine(2)
    assert of_kind(sent, AlertKind.ALIVE_AGAIN)
    assert rig.view.troubles == ()


async def test_a_price_that_only_tells_reaches_whoever_does_not_look(open_faulty: OpenRig) -> None:
    """Mode notify on a price: once for each time that it is crossed."""
    rig = await open_faulty()
    await price_rule(rig, "", "", notify=True)
    assert rig.view.rule_faults == ()
    sent = listen(rig)
    rig.chain.set_price("WETH", "2850")
    await rig.mine(3)
    (told,) = of_kind(sent, AlertKind.NOTICE)
    assert "2,850" in told
    assert "guard on 0x" in told
    rig.chain.set_price("WETH", "3000")
    await rig.mine(2)
    rig.chain.set_price("WETH", "2800")
    await rig.mine(2)
    assert len(of_kind(sent, AlertKind.NOTICE)) == 2


async def test_what_is_dropped_again_and_again_is_one_alert(open_faulty: OpenRig) -> None:
    """The account's nonce cannot be told from the journal's for five blocks: no alert of a firing for each of them."""
    rig = await open_faulty()
    sent = listen(rig)
    executor = rig.wired.engine.executor
    assert executor is not None
    assert rig.wired.journal is not None
    await rig.fall()
    await rig.settle()
    await rig.mine(2)
    rig.chain.set_price("WETH", "3000")
    await rig.mine(2)
    before = len(sent)
    nonce = len(rig.on_chain()) + (rig.intent.nonce or 0)
    rig.proxies[0].lie("eth_getTransactionCount", hex(nonce - 1))
    rig.chain.set_price("WETH", "2000")
    await rig.mine(5)
    dropped = [firing for firing in rig.firings if firing.state is FiringState.DROPPED]
    told = of_kind(sent[before:], AlertKind.FAILED)
    assert len(dropped) >= 3, rig.said
    assert len(told) == 1, told
    assert "cannot act" in told[0]
    assert of_kind(sent[before:], AlertKind.FIRED) == []
