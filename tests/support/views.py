"""Views as an engine would publish them: for the screen's tests."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType

from tests.support.view_positions import (
    ALICE,
    BLOCK,
    CAROL,
    DAI,
    MARKET,
    NOW,
    POOL,
    USDC,
    WBTC,
    WETH,
    WSTETH,
    emode,
    leveraged,
    mixed,
    no_debt,
    usd,
    wad,
)
from tui.model.intent import Attempt, AttemptKind, Firing, FiringState, Intent, IntentState
from tui.model.outcome import Outcome, Row, SoldAsset
from tui.model.plan import Action, Evaluation, FeeQuote, Plan, PlanCost, PlannedCall, PlannedStep
from tui.model.position import (
    Asset,
    PositionKey,
    unknown_position,
)
from tui.model.rule import ActionKind, Limits, Mode, Rule, RuleFault, Step, health_below, restore
from tui.model.units import USD
from tui.model.view import (
    ActivityEntry,
    ChainView,
    Confirmation,
    PositionView,
    PriceHistory,
    PricePoint,
    Protection,
    ProviderView,
    RuleActivity,
    RuleView,
    Severity,
    TriggerPrice,
    ViewState,
)

RULES_TEXT = """\
# What keeps the boat upright.

[[rule]]
name = "guard"
position = "aave-v3/core/0x70997970c51812dc3a010c7d01b50e0d17dc79c8"
mode = "auto"                      # notify | confirm | auto
when = { health_factor_below = "1.15", for_blocks = 2 }
target = { health_factor = "1.50" }

# Repay first: it is the cheapest.
[[rule.step]]
action = "repay"
asset = "USDC"
max = "8000"

[[rule.step]]
action = "add-collateral"
asset = "WETH"
max = "2"

[rule.limits]
max_cost_usd = "200"
max_base_fee_gwei = "500"
daily_spend_usd = "50000"
cooldown = "5m"

[[rule]]
name = "calm"
position = "aave-v3/core/0x90f79bf6eb2c4f870365e785982e1f101e93b906"
mode = "confirm"
when = { health_factor_below = "1.40" }
target = { health_factor = "1.70" }

[[rule.step]]
action = "repay"
asset = "DAI"
"""


GUARD = Rule(
    "guard",
    f"aave-v3/core/{ALICE}",
    Mode.AUTO,
    health_below(wad("1.15")),
    2,
    restore(wad("1.5")),
    (Step(ActionKind.REPAY, "USDC", "8000"), Step(ActionKind.ADD_COLLATERAL, "WETH", "2")),
    Limits(200 * USD, 500 * 10**9, 50_000 * USD, 300),
    "d1",
    "rules.toml:3",
)
CALM = Rule(
    "calm",
    f"aave-v3/core/{CAROL}",
    Mode.CONFIRM,
    health_below(wad("1.4")),
    1,
    restore(wad("1.7")),
    (Step(ActionKind.REPAY, "DAI"),),
    Limits(),
    "d2",
    "rules.toml:27",
)


def plan(before: str = "1.1480", after: str | None = "1.500412") -> Plan:
    """Repay, then add collateral."""
    call = PlannedCall(
        POOL,
        bytes.fromhex("573ade81") + bytes(31) + b"\x07" + bytes(96),
        0,
        "repay 5,214.20 USDC of variable debt for 0x7099…79c8 in aave-v3 core",
        Action(ActionKind.REPAY, USDC, 5_214_200_000),
        gas_limit=310_000,
    )
    approve = PlannedCall(
        USDC.address,
        bytes.fromhex("095ea7b3") + bytes(64),
        0,
        "approve exactly 5,214.20 USDC for the pool",
        None,
        gas_limit=60_000,
    )
    return Plan(
        "guard",
        "d1",
        PositionKey(MARKET, ALICE),
        BLOCK,
        (PlannedStep(Action(ActionKind.REPAY, USDC, 5_214_200_000), None if after is None else wad(after)),),
        (approve, call),
        wad(before),
        None if after is None else wad(after),
        True,
        None,
        FeeQuote(12_340_000_000, 26_000_000_000, 1_000_000_000, 120_000_000_000),
        PlanCost(370_000, 4_563_800_000_000_000, usd("0.41")),
        usd("1109.44"),
        usd("5213.67"),
        simulated=True,
    )


def history(asset: Asset, start: str, end: str, count: int = 160) -> PriceHistory:
    """A price that wanders from `start` to `end`, the same each time."""
    low, high = usd(start), usd(end)
    points = []
    for index in range(count):
        share = index / (count - 1)
        wave = math.sin(index / 7) * 0.006 + math.sin(index / 2.3) * 0.0025
        value = int((low + (high - low) * share) * (1 + wave * (1 - share)))
        points.append(PricePoint(int(NOW) - 3 - (count - 1 - index) * 12, value))
    return PriceHistory(asset, tuple(points))


def activity() -> tuple[ActivityEntry, ...]:
    """A quiet morning."""
    said = (
        (Severity.INFO, "Watching 3 positions on practice."),
        (Severity.GOOD, "Rule guard is armed by hand for aave-v3/core/0x7099…79c8."),
        (Severity.WARNING, "Node http://127.0.0.1:8546 lags 3 blocks behind; not counted until it catches up."),
        (Severity.INFO, "Base fee rose to 34.1 gwei; rules allow up to 500."),
        (Severity.ALARM, "Rule calm: simulation disagrees with the plan by 12 DAI; nothing was signed."),
        (Severity.GOOD, "guard repaid 5,214.20 USDC: health 1.1480 → 1.5004, gas $0.41, block 19,482,055."),
    )
    return tuple(
        ActivityEntry(number, NOW - 600 + 90 * number, 19_482_060 + number, severity, text)
        for number, (severity, text) in enumerate(said, 1)
    )


def chain(**changes: object) -> ChainView:
    """A healthy chain."""
    base = ChainView(
        "practice",
        31337,
        BLOCK,
        1.4,
        2.0,
        (ProviderView("http://127.0.0.1:8545", "ok", 11.6), ProviderView("http://127.0.0.1:8546", "ok", 14.2)),
        usd("3012.44"),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


GUARD_TRIGGER = TriggerPrice(
    "guard", str(PositionKey(MARKET, ALICE)), WETH, usd("2933.36"), -262, health_factor=wad("1.15")
)
CALM_TRIGGER = TriggerPrice(
    "calm", str(PositionKey(MARKET, CAROL)), WETH, usd("2301.10"), -2361, health_factor=wad("1.4")
)


def armed() -> ViewState:
    """Three positions, one rule armed, one not."""
    return ViewState(
        sequence=41,
        at=NOW,
        protection=Protection.ARMED,
        protection_why="Rule guard is armed and fires by itself; calm is not armed.",
        chain=chain(),
        positions=(
            PositionView(
                leveraged(), "guard", RuleActivity.ARMED, wad("1.15"), wad("1.5"), (GUARD_TRIGGER,), True, "main"
            ),
            PositionView(emode(), None, RuleActivity.OFF, None, None, (), False, "staked loop"),
            PositionView(mixed(), "calm", RuleActivity.DISARMED, wad("1.4"), wad("1.7"), (CALM_TRIGGER,), True, ""),
        ),
        rules=(
            RuleView(
                GUARD,
                RuleActivity.ARMED,
                "health 1.1810 is above the trigger 1.15",
                (str(PositionKey(MARKET, ALICE)),),
                NOW - 4000,
                Evaluation(
                    "guard", str(PositionKey(MARKET, ALICE)), BLOCK, False, "health is above the trigger", plan(), None
                ),
                5_213 * USD,
            ),
            RuleView(
                CALM, RuleActivity.DISARMED, "not armed: it would only be shown", (str(PositionKey(MARKET, CAROL)),)
            ),
        ),
        rules_file="rules.toml",
        activity=activity(),
        next_fire=GUARD_TRIGGER,
        would_stop=("guard: the price of WETH is 70 min old, and the rule holds at a stale price.",),
        worth_knowing=("guard: the wallet holds 5,000.00 USDC of the 8,000.00 USDC that step 1 may use.",),
        price_history=(
            history(WETH, "3105", "3012.44"),
            history(USDC, "1.0002", "0.9999"),
            history(WSTETH, "3640", "3544.12"),
            history(WBTC, "64900", "64250"),
            history(DAI, "1.0000", "1.0001"),
        ),
        armed_since=NOW - 4000,
    )


def watching() -> ViewState:
    """Nothing armed."""
    view = armed()
    rules = tuple(replace(rule, activity=RuleActivity.DISARMED, armed_since=None) for rule in view.rules)
    positions = tuple(
        replace(one, rule_activity=RuleActivity.DISARMED if one.rule else RuleActivity.OFF) for one in view.positions
    )
    return replace(
        view,
        sequence=42,
        protection=Protection.WATCHING,
        protection_why="Watching 3 positions; no rule is armed, so nothing is defended.",
        rules=rules,
        positions=positions,
        armed_since=None,
    )


def blind() -> ViewState:
    """Every node gone for a while."""
    view = armed()
    return replace(
        view,
        sequence=43,
        chain=chain(
            head_age=74.0,
            providers=(
                ProviderView("http://127.0.0.1:8545", "failing", None, "connection refused"),
                ProviderView("http://127.0.0.1:8546", "lagging", 18.0, "41 blocks behind"),
            ),
            blind="no node answers with a fresh block (2 tried)",
        ),
        protection_why="Rule guard is armed, but the chain cannot be read: nothing can fire.",
    )


def held() -> ViewState:
    """The engine stopped itself."""
    view = armed()
    rules = tuple(replace(rule, activity=RuleActivity.HELD, detail="held") for rule in view.rules)
    return replace(
        view,
        sequence=44,
        protection=Protection.HELD,
        protection_why="Two nodes disagree about block 19,482,113; nothing is signed until you resume by hand.",
        rules=rules,
        positions=tuple(replace(one, rule_activity=RuleActivity.HELD) if one.rule else one for one in view.positions),
    )


def killed() -> ViewState:
    """The kill switch is pulled."""
    return replace(
        held(),
        sequence=45,
        killed=True,
        protection_why="The kill switch is pulled: nothing is signed until it is released.",
    )


def unknown() -> ViewState:
    """One position cannot be trusted, one has no debt."""
    view = armed()
    lost = unknown_position(
        PositionKey(MARKET, ALICE),
        BLOCK,
        "our health factor differs from the contract's by 3 wei: the protocol may have been upgraded",
    )
    first = replace(
        view.positions[0],
        position=lost,
        rule_activity=RuleActivity.ARMED,
        trigger_prices=(),
        trigger_health_factor=None,
    )
    last = PositionView(no_debt(), None, RuleActivity.OFF, None, None, (), False, "savings")
    return replace(view, sequence=46, positions=(first, view.positions[2], last), next_fire=None)


def confirming(expires_in: float = 58.0) -> ViewState:
    """A plan waits for a yes."""
    view = armed()
    waiting = Confirmation("c-1", "guard", leveraged("1.1480"), plan(), NOW - 2, NOW + expires_in)
    rules = (replace(view.rules[0], activity=RuleActivity.ASKING, detail="a plan waits for your yes"), view.rules[1])
    return replace(view, sequence=47, confirmations=(waiting,), rules=rules)


def firing() -> ViewState:
    """A defence is under way."""
    view = armed()
    attempts = (
        Attempt(1, AttemptKind.ORIGINAL, "0x" + "1f" * 32, b"", 26_000_000_000, 10**9, NOW - 9, NOW - 9),
        Attempt(2, AttemptKind.BUMP, "0x" + "2f" * 32, b"", 31_000_000_000, 2 * 10**9, NOW - 3, NOW - 3),
    )
    approve = Intent(
        "i-1", "f-1", 1, 31337, ALICE, USDC.address, b"", 0, "approve exactly 5,214.20 USDC for the pool", 60_000,
        120 * 10**9, IntentState.FINAL_OK, 7, attempts[:1], "0x" + "1f" * 32, 19_482_111, None, 46_112,
        612_000_000_000_000,
    )  # fmt: skip
    repay = Intent(
        "i-2", "f-1", 2, 31337, ALICE, POOL, b"", 0, "repay 5,214.20 USDC", 310_000, 120 * 10**9,
        IntentState.MAYBE_SENT, 8, attempts,
    )  # fmt: skip
    running = Firing(
        "f-1", "guard", "d1", "e-1", str(PositionKey(MARKET, ALICE)), ALICE, 31337, FiringState.RUNNING, 19_482_110,
        "0x" + "44" * 32, int(NOW) - 9, wad("1.1480"), wad("1.500412"), None, "repay 5,214.20 USDC",
        intents=(approve, repay),
    )  # fmt: skip
    rules = (replace(view.rules[0], activity=RuleActivity.FIRING, detail="repaying 5,214.20 USDC"), view.rules[1])
    first = replace(view.positions[0], position=leveraged("1.1480"), rule_activity=RuleActivity.FIRING)
    return replace(view, sequence=48, rules=rules, firings=(running,), positions=(first, *view.positions[1:]))


def outcome_rows() -> tuple[Row, ...]:
    """A repayment, a sale of two assets, and a firing that failed: oldest first."""
    (running,) = firing().firings
    repaid = replace(
        running, state=FiringState.DONE, health_factor_after=wad("1.500398"), block_timestamp=int(NOW) - 86_400
    )
    sold = replace(repaid, id="f-2", rule="last resort", block_number=19_482_500, block_timestamp=int(NOW) - 9_000)
    failed = replace(repaid, id="f-3", state=FiringState.FAILED, block_number=19_482_900, block_timestamp=int(NOW) - 60)
    return (
        (repaid, Outcome("f-1", wad("1.5"), wad("1.500412"), wad("1.500398"), 4 * USD, 310 * USD // 100)),
        (
            sold,
            Outcome(
                "f-2", wad("1.5"), wad("1.500300"), wad("1.500311"), 9 * USD, 7 * USD, 14 * USD,
                (
                    SoldAsset("WETH", 7 * 10**18, 7_001 * 10**15, WETH.address, 18, 2_000 * USD),
                    SoldAsset("wstETH", 10**18, 10**18, WSTETH.address, 18, 2_400 * USD),
                ),
            ),
        ),
        (failed, Outcome("f-3", wad("1.5"), wad("1.500412"), None, 4 * USD, None, 14 * USD,
                         (SoldAsset("WETH", 7 * 10**18, None, WETH.address, 18, 2_000 * USD),))),
    )  # fmt: skip


def hostile() -> ViewState:
    """Everything a chain or a file could put into a text."""
    evil = "[red]\x1b[31mPWN\x1b]52;c;aGk=\x07\u202e[/red][@click=app.quit]x"
    view = armed()
    position = leveraged(symbol=evil)
    marked = replace(position, notes=(evil,), native=MappingProxyType({evil: evil}))
    shown = replace(view.positions[0], position=marked, label=evil)
    trigger = replace(GUARD_TRIGGER, asset=replace(WETH, symbol=evil), rule=evil)
    rule = replace(GUARD, name=evil)
    return replace(
        view,
        positions=(replace(shown, rule=evil, trigger_prices=(trigger,)), *view.positions[1:]),
        rules=(replace(view.rules[0], rule=rule, detail=evil),),
        rule_faults=(RuleFault("rules.toml", 3, evil, evil),),
        activity=(ActivityEntry(1, NOW, 1, Severity.ALARM, evil),),
        next_fire=trigger,
        would_stop=(evil,),
        worth_knowing=(evil,),
        protection_why=evil,
        price_history=tuple(replace(one, asset=replace(one.asset, symbol=evil)) for one in view.price_history),
        chain=replace(view.chain, network=evil),
    )
