"""Strange things done to a real market, each as its owner, its tokens or the node would do it."""

from __future__ import annotations

from tests.e2e.conftest import Rig
from tests.support.chain import Chain
from tui.engine.watch import IMPLEMENTATION_SLOT
from tui.model.view import Protection, RuleActivity, RuleView
from tui.practice.accounts import OWNER

SHIM = "0x00000000000000000000000000000000005a1a10"
OTHER = "0x00000000000000000000000000000000005a1a20"
"""Where tests put code of their own."""
_FEED_TIME_SLOTS = range(16)


def reserve(chain: Chain, signature: str, symbol: str, *args: object) -> None:
    """One of the pool configurator's functions for a reserve, sent by the market's admin."""
    chain.send(OWNER, chain.market.configurator, signature, chain.token(symbol).address, *args)


def price_by(chain: Chain, symbol: str, source: str) -> None:
    """Have the oracle ask another source, as its owner may."""
    token = chain.token(symbol).address
    chain.send(OWNER, chain.market.oracle, "setAssetSources(address[],address[])", [token], [source])


def publish_at(chain: Chain, symbol: str, timestamp: int) -> None:
    """Have a feed say that its price is of another time: the word of its storage that holds the time is changed."""
    feed = chain.token(symbol).feed
    now = chain.call(feed, "latestTimestamp()", ["uint256"])
    for slot in _FEED_TIME_SLOTS:
        if int(chain.rpc("eth_getStorageAt", feed, hex(slot), "latest"), 16) == now:
            chain.rpc("anvil_setStorageAt", feed, f"0x{slot:064x}", f"0x{timestamp:064x}")
            assert chain.call(feed, "latestTimestamp()", ["uint256"]) == timestamp
            return
    raise AssertionError(f"{feed} keeps its time nowhere")


def forwarding_code(to: str) -> str:
    """Runtime code that asks `to` whatever it is asked, and answers what that answers."""
    return f"0x3660006000376000600036600073{to[2:].lower()}5afa3d600060003e3d6000f3"


def answering_code(answers: dict[str, int], otherwise: str | None) -> str:
    """Runtime code that answers a word to each of some selectors (8 hex digits) and hands the rest to the code at
    `otherwise` in its own storage, or reverts where that is None.
    """
    head = 6 + 10 * len(answers)
    rest = "60006000fd"
    if otherwise is not None:
        tail = f"3660006000376000600036600073{otherwise[2:].lower()}5af43d600060003e"
        rest = f"{tail}60{head + len(tail) // 2 + 7:02x}573d6000fd5b3d6000f3"
    at = head + len(rest) // 2
    tests, ends = "", ""
    for selector, word in answers.items():
        tests += f"8063{selector}1460{at:02x}57"
        end = f"5b7f{word:064x}60005260206000f3"
        ends += end
        at += len(end) // 2
    assert at < 256
    return "0x60003560e01c" + tests + rest + ends


def implementation(chain: Chain) -> str:
    """The code behind the pool's proxy."""
    word: str = chain.rpc("eth_getStorageAt", chain.market.pool, hex(IMPLEMENTATION_SLOT), "latest")
    return "0x" + word[-40:]


def move_code(chain: Chain, of: str, to: str) -> None:
    """A copy of a contract's code at another address."""
    chain.rpc("anvil_setCode", to, chain.rpc("eth_getCode", of, "latest"))


def rule_of(rig: Rig, name: str = "guard") -> RuleView:
    """The rule as it is shown."""
    return next(one for one in rig.wired.engine.view.rules if one.rule.name == name)


def said(rig: Rig, words: str) -> int:
    """How many lines of activity hold some words."""
    return sum(words in entry.text for entry in rig.wired.engine.view.activity)


def assert_nothing_signed(rig: Rig) -> None:
    """No attempt in the record, and no firing that is under way."""
    assert all(not intent.attempts for firing in rig.firings() for intent in firing.intents)
    assert not any(firing.state.is_open for firing in rig.firings())


def assert_held_back(rig: Rig, words: str) -> None:
    """Armed, but held back; the reason stands in the rule, among what would stop it, and once in the activity."""
    view = rig.wired.engine.view
    rule = rule_of(rig)
    assert (view.protection, rule.activity) == (Protection.ARMED, RuleActivity.HELD), rule.detail
    assert words in rule.detail
    assert any(words in line for line in view.would_stop), view.would_stop
    assert said(rig, f"held back: {words}") == 1
    assert_nothing_signed(rig)


async def assert_disarmed(rig: Rig, words: str, name: str = "guard") -> None:
    """Not armed any more; the reason is shown, once, and the signer has given up key and policy."""
    view = rig.wired.engine.view
    rule = rule_of(rig, name)
    assert (view.protection, rule.activity) == (Protection.WATCHING, RuleActivity.DISARMED), view.protection_why
    assert words in rule.detail, rule.detail
    assert sum("disarmed" in entry.text and words in entry.text for entry in view.activity) == 1
    assert view.armed_since is None
    status = await signer_status(rig)
    assert (status["unlocked"], status["policies"]) == ([], [])
    assert_nothing_signed(rig)


async def signer_status(rig: Rig) -> dict[str, object]:
    """What the signer says of itself."""
    assert rig.wired.signer is not None
    return dict(await rig.wired.signer.status())
