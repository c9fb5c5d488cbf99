"""Drawing the one view from what the engine knows. Pure: facts in, a ViewState out."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from tui.engine.conditions import Conditions, Consequence, first
from tui.engine.history import History
from tui.engine.intents import living, senders, stuck_words
from tui.engine.signerwatch import ARM_AGAIN
from tui.engine.troubles import keys_of_firing
from tui.engine.wanting import all_held, why_refused
from tui.model.intent import Firing, Intent, IntentState
from tui.model.network import Network
from tui.model.plan import Evaluation
from tui.model.position import Position
from tui.model.rule import Mode, Rule, RuleFault
from tui.model.snapshot import Snapshot
from tui.model.view import (
    ChainView,
    Confirmation,
    Notice,
    PositionView,
    Protection,
    ProviderView,
    RuleActivity,
    RuleView,
    TriggerPrice,
    ViewState,
)
from tui.ports.chain import ProviderStatus
from tui.rules.evaluate import Verdict, VerdictKind
from tui.rules.match import applies, may_defend

DEGRADED = "fewer nodes than must agree, so daily limits are halved and nothing is sold"
"""What `degraded` means, in the words of the protection line."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the engine stands: why it is held (None: it is not), whether the kill switch is on, read-only or not.

    `head_age` in seconds since the last head was received, None before any; `blind` why nothing can be known now;
    `signer` why nothing can be signed for what is armed.
    """

    at: float
    read_only: bool
    killed: bool
    held: str | None
    blind: str | None
    head_age: float | None
    read_only_why: str = ""
    signer: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a view is drawn from beside the standing. `left_behind`: sentences on transactions that were signed for
    rules which are armed no more. `degraded`: why fewer nodes than the quorum had to do at this block. `stuck`: what
    the kill switch withheld and nobody has cancelled. `armed_accounts` is whose positions each armed rule defends,
    `armed_keys` the accounts that sign for it.
    """

    network: Network
    providers: tuple[ProviderStatus, ...]
    snapshot: Snapshot | None
    rules: tuple[Rule, ...]
    faults: tuple[RuleFault, ...]
    rules_file: str
    armed_since: Mapping[str, float]
    armed_accounts: Mapping[str, str]
    verdicts: Mapping[tuple[str, str], Verdict]
    evaluations: Mapping[tuple[str, str], Evaluation]
    firings: tuple[Firing, ...]
    confirmations: tuple[Confirmation, ...]
    spent_today: Mapping[str, int]
    own_accounts: frozenset[str]
    labels: Mapping[str, str]
    triggers: tuple[TriggerPrice, ...]
    would_stop: tuple[str, ...]
    worth_knowing: tuple[str, ...]
    halted: Mapping[str, str]
    low_gas: tuple[tuple[str, str], ...] = ()
    policy_until: float | None = None
    conditions: Conditions = field(default_factory=lambda: MappingProxyType({}))
    disarmed: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    degraded: str | None = None
    left_behind: tuple[str, ...] = ()
    troubles: tuple[tuple[str, str], ...] = ()
    stuck: tuple[Intent, ...] = ()
    notices: tuple[Notice, ...] = ()
    armed_keys: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def keys_of(self, rule: str) -> tuple[str, ...]:
        """The accounts that sign for an armed rule; none for one that is not armed."""
        account = self.armed_accounts.get(rule)
        return self.armed_keys.get(rule, () if account is None else (account,))


def draw(sequence: int, standing: Standing, facts: Facts, history: History) -> ViewState:
    """The view of this moment."""
    snapshot = facts.snapshot
    protection, why = _protection(standing, facts)
    positions = snapshot.positions if snapshot is not None else ()
    rules = tuple(_rule_view(rule, positions, standing, facts) for rule in facts.rules)
    by_rule = {view.rule.name: view for view in rules}
    return ViewState(
        sequence=sequence,
        at=standing.at,
        protection=protection,
        protection_why=why,
        chain=ChainView(
            network=facts.network.name,
            chain_id=facts.network.chain_id,
            block=None if snapshot is None else snapshot.block,
            head_age=standing.head_age,
            block_time=facts.network.block_time,
            providers=tuple(
                ProviderView(one.url, one.state, one.latency_ms, one.detail, one.role) for one in facts.providers
            ),
            native_price_usd=None if snapshot is None else snapshot.native_price_usd,
            blind=standing.blind,
        ),
        positions=tuple(_position_view(position, facts, by_rule) for position in positions),
        wallets=() if snapshot is None else tuple(snapshot.wallets.values()),
        rules=rules,
        rule_faults=facts.faults,
        rules_file=facts.rules_file,
        activity=history.activity,
        firings=facts.firings,
        confirmations=facts.confirmations,
        next_fire=_nearest(facts.triggers, facts.armed_since, _spent(facts)),
        would_stop=(*(f"{name}: {why}" for name, why in _spent(facts).items()), *facts.would_stop),
        worth_knowing=facts.worth_knowing,
        price_history=history.prices,
        health_history=history.health,
        armed_since=min(facts.armed_since.values(), default=None),
        killed=standing.killed,
        read_only=standing.read_only,
        held=standing.held,
        low_gas=facts.low_gas,
        policy_until=facts.policy_until if facts.armed_since else None,
        degraded=facts.degraded,
        signer=standing.signer,
        troubles=facts.troubles,
        notices=facts.notices,
    )


def _protection(standing: Standing, facts: Facts) -> tuple[Protection, str]:
    names = ", ".join(sorted(facts.armed_since))
    behind = "".join(f" {text}" for text in (*facts.left_behind, *map(stuck_words, facts.stuck)))
    if standing.read_only:
        why = f" {standing.read_only_why.rstrip('.')}." if standing.read_only_why else ""
        return Protection.READ_ONLY, f"Read-only: this window watches and can pull the kill switch.{why}"
    if standing.killed:
        return Protection.HELD, "The kill switch is on: nothing is signed until it is released."
    if standing.held is not None:
        return Protection.HELD, f"{standing.held} Go on by hand when it is mended."
    if standing.signer is not None:
        return Protection.HELD, f"Nothing can be signed: {standing.signer}. To mend it, {ARM_AGAIN}."
    if standing.blind is not None:
        return Protection.HELD, f"Blind: {standing.blind}. Nothing can fire until the chain is seen again."
    keys = {rule: facts.keys_of(rule) for rule in facts.armed_since}
    halted = sorted({key for signers in keys.values() for key in signers if key in facts.halted})
    halts = " ".join(f"Account {account} is halted: {facts.halted[account]}" for account in halted)
    if halted and all(all(key in facts.halted for key in signers) for signers in keys.values()):
        return Protection.HELD, halts
    if armed_stuck := _stuck(facts, {key for signers in keys.values() for key in signers}):
        return Protection.HELD, stuck_words(armed_stuck)
    if unsigned := _unsigned(
        facts, {*facts.armed_accounts.values(), *(key for signers in keys.values() for key in signers)}
    ):
        return Protection.HELD, f"{unsigned}."
    if facts.armed_since:
        spent = {name: f"is held back: {why}" for name, why in all_held(facts.armed_since, facts.conditions).items()}
        spent |= _spent(facts)
        lead = f"Degraded: {DEGRADED}; {facts.degraded}. " if facts.degraded is not None else ""
        # Others can still sign: what they defend is defended.
        lead += f"{halts.rstrip('.')}. " if halted else ""
        if spent:
            told = "; ".join(f"{name} {why}" for name, why in spent.items())
            return Protection.ARMED, f"{lead}Armed, but {told}.{behind}"
        plural = "s" if len(facts.armed_since) > 1 else ""
        stale = " The rules file has faults: what was armed stays as it was." if _has_errors(facts) else ""
        return Protection.ARMED, f"{lead}Rule{plural} armed: {names}.{stale}{behind}"
    return Protection.WATCHING, f"Watching only: no rule is armed, nothing will be signed.{behind}"


def _stuck(facts: Facts, accounts: Container[str]) -> Intent | None:
    """The first of what is stuck that one of `accounts` owns."""
    return next((one for one in facts.stuck if one.account in accounts), None)


def _unsigned(facts: Facts, accounts: Container[str]) -> str | None:
    """What one of `accounts` began and cannot sign now: nothing else of it can be signed meanwhile."""
    troubles = dict(facts.troubles)
    for firing in facts.firings:
        found = next((troubles[key] for key in keys_of_firing(firing.id) if key in troubles), None)
        if found is not None and any(one in accounts for one in (firing.account, *senders(living(firing)))):
            return found.rstrip(".")
    return None


def _has_errors(facts: Facts) -> bool:
    return any(fault.severity == "error" for fault in facts.faults)


def _spent(facts: Facts) -> dict[str, str]:
    """Armed rules that have fired and cannot fire again yet, with what they wait for."""
    found: dict[str, str] = {}
    for (rule, _), verdict in facts.verdicts.items():
        if rule in facts.armed_since and verdict.kind in (VerdictKind.LATCHED, VerdictKind.COOLING):
            under_way = [firing for firing in facts.firings if firing.rule == rule and firing.state.is_open]
            going_on = f"is carrying out a rebalance{_waiting_to_be_final(under_way, facts)}"
            found[rule] = going_on if under_way else f"will not fire now: {verdict.why}"
    return found


def _waiting_to_be_final(firings: Sequence[Firing], facts: Facts) -> str:
    """How far what was mined is from being final: no rule arms again before."""
    blocks = [
        intent.included_block
        for firing in firings
        for intent in firing.intents
        if intent.state is IntentState.INCLUDED and intent.included_block is not None
    ]
    if not blocks or facts.snapshot is None:
        return ""
    wanted = max(1, facts.network.confirmations)
    deep = max(facts.snapshot.block.number - max(blocks) + 1, 0)
    return (
        f", mined in block {max(blocks)}, which is not final yet ({deep} of {wanted} blocks): it fires no more before"
    )


def _rule_view(rule: Rule, positions: Sequence[Position], standing: Standing, facts: Facts) -> RuleView:
    matched = tuple(position.id for position in positions if applies(rule, position.key))
    activity, detail = _activity(rule, matched, standing, facts)
    evaluation = next(
        (facts.evaluations[rule.name, one] for one in matched if (rule.name, one) in facts.evaluations), None
    )
    return RuleView(
        rule,
        activity,
        detail,
        matched,
        facts.armed_since.get(rule.name),
        evaluation,
        facts.spent_today.get(rule.name, 0),
    )


_BY_VERDICT = {
    VerdictKind.LATCHED: RuleActivity.LATCHED,
    VerdictKind.COOLING: RuleActivity.COOLING,
    VerdictKind.COUNTING: RuleActivity.COUNTING,
}


def _activity(rule: Rule, matched: Sequence[str], standing: Standing, facts: Facts) -> tuple[RuleActivity, str]:
    if not matched:
        return RuleActivity.OFF, "no watched position matches"
    if (stuck := _stuck(facts, facts.keys_of(rule.name))) is not None:
        return RuleActivity.HELD, stuck_words(stuck)
    if any(firing.rule == rule.name and firing.state.is_open for firing in facts.firings):
        return RuleActivity.FIRING, "a rebalance is under way"
    if any(asked.rule == rule.name for asked in facts.confirmations):
        return RuleActivity.ASKING, "waits for your yes or no"
    verdicts = [facts.verdicts[rule.name, one] for one in matched if (rule.name, one) in facts.verdicts]
    # The verdict that keeps the rule from acting is the one to tell.
    telling = next((one for one in verdicts if one.kind in _BY_VERDICT), None) or (verdicts[0] if verdicts else None)
    why = "not evaluated yet" if telling is None else telling.why
    if rule.mode is not Mode.NOTIFY and rule.name not in facts.armed_since:
        lost = facts.disarmed.get(rule.name)
        return RuleActivity.DISARMED, why if lost is None else f"disarmed: {lost}"
    if standing.signer is not None:
        return RuleActivity.HELD, f"nothing can be signed: {standing.signer}"
    if standing.killed or standing.held is not None or standing.blind is not None:
        return RuleActivity.HELD, why
    keys = facts.keys_of(rule.name)
    halted = [f"account {key} is halted: {facts.halted[key]}" for key in keys if key in facts.halted]
    if halted and len(halted) == len(keys):
        return RuleActivity.HELD, halted[0]
    strange = [one for position in matched for one in facts.conditions.get((rule.name, position), ())]
    held_back = first(strange, Consequence.HOLD_BACK)
    if held_back is not None:
        return RuleActivity.HELD, f"held back: {held_back}"
    if telling is not None and telling.kind is VerdictKind.BLIND:
        return RuleActivity.HELD, why
    judged = [facts.evaluations[rule.name, one] for one in matched if (rule.name, one) in facts.evaluations]
    refused = next((told for one in judged if (told := why_refused(one)) is not None), None)
    if refused is not None and rule.name in facts.armed_since:
        return RuleActivity.HELD, f"cannot act: {refused}"
    why = "; ".join((why, *halted, *(one.text for one in strange if one.consequence is Consequence.STEP_OUT)))
    if telling is not None and telling.kind in _BY_VERDICT:
        return _BY_VERDICT[telling.kind], why
    return RuleActivity.ARMED, why


_IDLE = frozenset({RuleActivity.OFF, RuleActivity.INVALID, RuleActivity.DISARMED})


def _doing(rule: Rule, account: str, facts: Facts, rules: Mapping[str, RuleView]) -> RuleActivity:
    """What a rule does for `account`: a rule that acts is armed for one account alone."""
    armed_for = facts.armed_accounts.get(rule.name)
    if rule.mode is not Mode.NOTIFY and armed_for is not None and armed_for != account:
        return RuleActivity.DISARMED
    return rules[rule.name].activity


def _defends(rule: Rule) -> int:
    """How near a rule is to a defence, nearest first: acts on low health, tells of it, waits for a price, closes a part
    where health is high, boosts.
    """
    if rule.health_factor_below is not None:
        return int(rule.mode is Mode.NOTIFY)
    if rule.health_factor_above is not None:
        return 4 if rule.boosts else 3
    return 2


def _position_view(position: Position, facts: Facts, rules: Mapping[str, RuleView]) -> PositionView:
    watching = [rule for rule in facts.rules if applies(rule, position.key)]
    account = position.key.account
    mine = [rule for rule in watching if rule.mode is Mode.NOTIFY or may_defend(rule, position.key, facts.own_accounts)]
    doing = {rule.name: _doing(rule, account, facts, rules) for rule in mine}
    # What stands beside a position is what it relies on: the best defence, and an armed one before one that is not.
    rule = min(mine, key=lambda one: (_defends(one), doing[one.name] in _IDLE), default=None)
    guarding = rule if rule is not None and rule.health_factor_below is not None else None
    activity = RuleActivity.OFF if rule is None else doing[rule.name]
    return PositionView(
        position=position,
        rule=None if rule is None else rule.name,
        rule_activity=activity,
        trigger_health_factor=None if guarding is None else guarding.health_factor_below,
        target_health_factor=(
            None if guarding is None or guarding.mode is Mode.NOTIFY else guarding.target_health_factor
        ),
        trigger_prices=tuple(one for one in facts.triggers if one.position == position.id),
        own_key=account in facts.own_accounts,
        label=facts.labels.get(account, ""),
        payers=_payers(rule, account, facts),
    )


def _payers(rule: Rule | None, account: str, facts: Facts) -> tuple[str, ...]:
    """The other accounts that sign for a rule which is armed for positions of `account`."""
    if rule is None or facts.armed_accounts.get(rule.name) != account:
        return ()
    return tuple(key for key in facts.keys_of(rule.name) if key != account)


def _nearest(
    triggers: Sequence[TriggerPrice], armed: Mapping[str, float], spent: Mapping[str, str]
) -> TriggerPrice | None:
    candidates = [
        one for one in triggers if one.rule in armed and one.rule not in spent and one.distance_bps is not None
    ]
    return min(candidates, key=lambda one: abs(one.distance_bps or 0), default=None)
