"""What the doctor concludes from what was found. Pure: facts in, checks out; nothing here looks at anything itself."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tui.engine.conditions import Condition, Consequence
from tui.engine.freshness import SILENT_AFTER_BLOCKS
from tui.engine.publish import DEGRADED
from tui.engine.signerwatch import ARM_AGAIN
from tui.headless.heartbeat import BEAT_EVERY, FRESH_WITHIN, Beat
from tui.model.network import LATE_BLOCKS, LATE_SECONDS
from tui.model.position import Asset
from tui.model.rule import Rule
from tui.model.snapshot import Snapshot
from tui.model.text import short_address
from tui.model.units import format_units
from tui.model.view import Protection
from tui.ports.chain import ProviderStatus

CLOCK_AHEAD_SECONDS = 15
"""A block this far in the future means that this machine's clock is behind."""
FREE_BYTES = 64 * 1024 * 1024
POLICY_ENDS_SOON = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `ok` None: could not be told, which counts as not well.

    `stops` False: worth knowing where it is not well, but it stops no defence by itself.
    """

    name: str
    ok: bool | None
    detail: str
    fix: str = ""
    stops: bool = True

    @property
    def level(self) -> str:
        """`ok`, `note`, `bad` or `unknown`."""
        if self.ok:
            return "ok"
        if not self.stops:
            return "note"
        return "unknown" if self.ok is None else "bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to "am I armed, since when, what would stop me". `since` unix seconds of the rule armed first."""

    armed: bool
    since: float | None
    rules: tuple[str, ...]
    stops: tuple[Check, ...]

    @property
    def well(self) -> bool:
        """Armed, and nothing is known that would stop it."""
        return self.armed and not self.stops

    def text(self, now: float) -> str:
        """One line for a person."""
        if not self.armed:
            return "NOT ARMED: nothing is defended"
        names = ", ".join(self.rules)
        since = "" if self.since is None else f" since {moment(self.since)} ({ago(now - self.since)})"
        if self.well:
            return f"ARMED{since}: {names}; nothing is known that would stop it"
        return f"ARMED{since}: {names}; but {len(self.stops)} of the checks would stop or weaken a defence"


def verdict(checks: Sequence[Check], beat: Beat | None) -> Verdict:
    """What all checks come to. Only an engine that beats and holds its lock is armed."""
    alive = any(check.name == "engine" and check.ok for check in checks)
    armed = beat is not None and alive and bool(beat.armed)
    stops = tuple(check for check in checks if not check.ok and check.stops)
    if beat is None or not armed:
        return Verdict(False, None, (), stops)
    return Verdict(True, min(one.since for one in beat.armed), tuple(one.rule for one in beat.armed), stops)


def engine_checks(beat: Beat | None, unreadable: str, holder: int | None, held: bool, now: float) -> Iterator[Check]:
    """The running engine, as its lock (`holder`, whether it is `held` at all) and its heartbeat tell."""
    start = "start `trimtab run`, or arm a rule in the app"
    if unreadable:
        yield Check("engine", None, unreadable, "remove that file; a running engine writes it anew")
        return
    if not held:
        if beat is not None and not beat.stopped:
            gone = (
                f"process {beat.pid} is gone without a word; last seen {ago(now - beat.at)} ago, then {beat.protection}"
            )
            yield Check("engine", False, gone, f"look at `trimtab journal`, then {start}")
        else:
            last = "" if beat is None else f"; the last one ended {ago(now - beat.at)} ago: {beat.why}"
            yield Check("engine", False, f"none runs: nothing is armed{last}", start)
        return
    if beat is None or beat.stopped:
        yield Check("engine", None, f"process {_pid(holder)} holds the state, but has no heartbeat", "wait a moment")
        return
    if holder is not None and holder != beat.pid:
        yield Check(
            "engine", None, f"process {holder} holds the state, the heartbeat is of {beat.pid}", "wait a moment"
        )
        return
    age = now - beat.at
    if age > FRESH_WITHIN:
        stuck = f"process {beat.pid} has not written its heartbeat for {ago(age)}: it hangs, or its disk is full"
        yield Check("engine", False, stuck, "look at its output; end it and start it again")
        return
    if age < -FRESH_WITHIN:
        yield Check("engine", None, "its heartbeat lies in the future: the clock was set back", "set the clock right")
        return
    if beat.ticked_at is not None and beat.at - beat.ticked_at > FRESH_WITHIN:
        still = f"process {beat.pid} lives, but its engine has stood still for {ago(now - beat.ticked_at)}"
        yield Check("engine", False, still, "look at its output; end it and start it again")
        return
    yield Check("engine", True, f"process {beat.pid} on {beat.network}, up {ago(now - beat.started_at)}")
    yield from _protection_checks(beat, now)


def _protection_checks(beat: Beat, now: float) -> Iterator[Check]:
    fix = {
        "HELD": "mend what it names, then `trimtab resume`" if beat.held else "mend what it names",
        "WATCHING": "arm a rule: start `trimtab run` with a rule of mode auto, or arm it in the app",
    }.get(beat.protection, "")
    yield Check("protection", beat.protection == Protection.ARMED, f"{beat.protection}: {beat.why}", fix)
    if beat.degraded is not None:
        yield Check("degraded", False, f"{DEGRADED}; {beat.degraded}", "mend the nodes that do not answer")
    if beat.armed:
        yield Check("signer", beat.signer is None, beat.signer or "it answers", ARM_AGAIN)
    for name, why in beat.disarmed:
        yield Check(f"rule {name}", False, why, "mend what it names, then arm the rule again")
    # While it is held the line above says why; nobody is armed without one.
    for text in dict.fromkeys(beat.would_stop):
        yield Check("engine sees", False, text)
    for one in beat.armed:
        yield Check(f"armed {one.rule}", True, f"since {moment(one.since)} ({ago(now - one.since)})")
    if beat.block_number is not None and beat.block_received_at is not None:
        age = now - beat.block_received_at
        late = SILENT_AFTER_BLOCKS * (beat.block_time or 0.0) + BEAT_EVERY
        told = f"block {beat.block_number}, received {ago(age)} ago"
        if beat.block_time is not None and age > late:
            told += f": none for more than {SILENT_AFTER_BLOCKS} block times of {beat.block_time:g} s, it is blind"
        fix = "mend its nodes, or wait for the chain to go on"
        yield Check("engine's head", beat.block_time is None or age <= late, told, fix)
    for node in beat.nodes:
        if node.role != "node" or node.state != "ok" or node.detail:
            fix = "check its URL and plan"
            text = f"{node.state} {node.detail}".strip()
            yield Check(f"engine's {node.role} {node.url}", node.state == "ok", text, fix, stops=False)
    if beat.armed and beat.policy_until is not None:
        left = beat.policy_until - now
        yield Check(
            "signer's permission",
            left > POLICY_ENDS_SOON,
            f"ends in {ago(left)}" if left > 0 else "has ended: nothing would be signed",
            "the engine renews it by itself; where it does not, arm the rule again",
            stops=left <= 0,
        )


def unarmed_checks(acting: Sequence[str], found: Sequence[Check], beat: Beat | None) -> Iterator[Check]:
    """Rules of mode auto or confirm (`acting`, by name) that the running engine has not armed: beside one that is armed
    they would look defended. `found`: the checks so far; nothing is said where no engine runs, that is one of them.
    """
    if beat is None or not beat.armed or not any(check.name == "engine" and check.ok for check in found):
        return  # that nothing at all is armed is told already
    known = {one.rule for one in beat.armed} | {name for name, _ in beat.disarmed}
    for name in acting:
        if name not in known:
            text = "it would act, but the running engine has not armed it: it defends nothing"
            yield Check(f"rule {name}", False, text, "arm it in the app; `trimtab run` arms those of mode auto only")


def kill_check(killed: bool) -> Check:
    """The kill switch."""
    return Check("kill switch", not killed, "on: nothing is signed" if killed else "off", "trimtab kill --off")


def disk_checks(fault: str, free: int | None) -> Iterator[Check]:
    """`fault` says why the state directory cannot be written, empty where it can; `free` bytes."""
    yield Check("disk", not fault, fault or "the state directory can be written", "free space, or mend its permissions")
    if free is not None:
        text = f"{free // (1024 * 1024):,} MiB free"
        yield Check("disk space", free >= FREE_BYTES, text, "free some: without room nothing is signed")


def journal_check(found: str, fault: str, fix: str) -> Check:
    """`found` says what is well, `fault` what is not."""
    return Check("journal", not fault, fault or found, fix)


def node_checks(nodes: Sequence[ProviderStatus], quorum: int, degraded: bool = False) -> Iterator[Check]:
    """Every node, and whether enough of them are well. One bad node among enough good ones stops nothing.

    `degraded`: the network goes on with fewer than the quorum, with less.
    """
    well = sum(one.state == "ok" for one in nodes if one.role == "node")
    for one in nodes:
        latency = "" if one.latency_ms is None else f", {one.latency_ms:.0f} ms"
        detail = f"{one.state}{latency} {one.detail}".strip()
        fix = "check its URL and plan"
        if one.role != "node":
            fix = "check its URL; what it does not take goes to all nodes at once, for everyone to see"
        yield Check(f"{one.role} {one.url}", one.state == "ok", detail, fix, stops=False)
    told = f"{well} well, {quorum} needed"
    if degraded and 0 < well < quorum:
        told += f"; degraded: {DEGRADED}"
    yield Check("quorum", well >= quorum, told, "mend a node, or add one to the network file")


def head_checks(
    number: int | None, timestamp: int | None, block_time: float, now: float, max_lag: float | None = None
) -> Iterator[Check]:
    """The head's own time against this machine's clock: one behind means lag, one ahead a wrong clock. `max_lag` in
    seconds where the network file allows another one than usual.
    """
    if number is None or timestamp is None:
        yield Check("head", False, "no block could be read", "check --rpc or the network file")
        return
    age = now - timestamp
    late = max(LATE_SECONDS, LATE_BLOCKS * block_time) if max_lag is None else max_lag
    yield Check(
        "head",
        age <= late,
        f"block {number}, {ago(max(age, 0))} old",
        "the node lags, the chain stands still, or this machine's clock is ahead",
    )
    ahead = -age
    yield Check(
        "clock",
        ahead <= CLOCK_AHEAD_SECONDS,
        f"the newest block is {ago(ahead)} in the future" if ahead > CLOCK_AHEAD_SECONDS else "no block is ahead of it",
        "set this machine's clock (timedatectl set-ntp true)",
    )


def position_checks(snapshot: Snapshot) -> Iterator[Check]:
    """What is unknown or strange about the positions."""
    for position in snapshot.positions:
        name = f"position {position.id}"
        if position.unknown is not None:
            yield Check(name, None, f"unknown: {position.unknown}", "nothing fires on it until it can be read")
        else:
            notes = "; ".join(position.notes)
            yield Check(name, not notes, notes or f"read, {position.status}", stops=False)


def condition_checks(name: str, conditions: Sequence[Condition], steps_left: int) -> Iterator[Check]:
    """What is stale, strange or changed under a rule. A step that is out stops nothing while others can act:
    whether those suffice is told by the rule's means.
    """
    for one in conditions:
        fix = {
            Consequence.DISARM: "a running engine disarms it for that; mend it, then arm the rule again",
            Consequence.HOLD_BACK: "it is held back as long as that lasts",
        }.get(one.consequence, "")
        grave = one.consequence in (Consequence.DISARM, Consequence.HOLD_BACK)
        out = one.consequence is Consequence.STEP_OUT and steps_left == 0
        yield Check(name, False, one.text, fix, stops=grave or out)


def key_checks(name: str, rule: Rule, account: str, own: Container[str]) -> Iterator[Check]:
    """Whether the keys that a rule needs on a position of `account` are here."""
    for signer in rule.signers(account):
        if signer not in own:
            what = f"the key of {signer}, which signs a part of it, is not here"
            yield Check(name, False, what, "import its key file, or give it with --keystore")


def wallet_checks(snapshot: Snapshot, own: Sequence[str]) -> Iterator[Check]:
    """Accounts that sign: plain ones, readable, and what others may take of their tokens already."""
    for account in own:
        name = f"account {short_address(account)}"
        wallet = snapshot.wallets.get(account)
        if wallet is None or wallet.native is None or wallet.nonce is None:
            yield Check(name, None, "its wallet could not be read", "check the node")
            continue
        if not wallet.code_read:
            yield Check(name, None, "whether it carries code, and whose, could not be read", "check the node")
            continue
        if wallet.is_foreign:
            fix = "take it away with `trimtab helper undelegate`, or use another account"
            found = "it carries code or a delegation that is not Trimtab's: others may act for it"
            yield Check(name, False, found, fix)
            continue
        own = "" if wallet.delegate is None else ", delegated to Trimtab's helper"
        yield Check(name, True, f"{format_units(wallet.native, 18, 5)} of the native coin, nonce {wallet.nonce}{own}")
        for holding in wallet.tokens.values():
            for spender, amount in holding.allowances.items():
                if amount:
                    yield _allowance(account, holding.asset, spender, amount)


def _allowance(account: str, asset: Asset, spender: str, amount: int) -> Check:
    most = "without limit" if amount >= 2**128 else f"{format_units(amount, asset.decimals, 2)}"
    return Check(
        f"allowance {asset.symbol}",
        False,
        f"{short_address(spender)} may take {most} of {short_address(account)}'s {asset.symbol} at any time",
        "revoke what you did not mean; Trimtab itself approves exact amounts only",
        stops=False,
    )


def moment(at: float) -> str:
    """`2026-01-31 12:00:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def ago(seconds: float) -> str:
    """`4 s`, `12 min`, `3 h`, `2 d`."""
    seconds = max(seconds, 0.0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _pid(holder: int | None) -> str:
    return "another" if holder is None else str(holder)
