"""Arming and disarming: the one place where a rule gets or loses its signatures, whoever asks for it.

A rule is disarmed at once in memory; the signer follows as soon as it answers, and until it does that is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tui.engine.arming import positions_for, scope_of
from tui.engine.conditions import baseline_of
from tui.engine.prospect import Prospect
from tui.engine.rulebook import Armed, RuleBook
from tui.engine.sending import Teller
from tui.model.rule import Rule
from tui.model.signing import SignerRefused, SignerUnavailable, SigningPolicy
from tui.model.snapshot import Snapshot
from tui.model.text import clean_text, short_address
from tui.model.view import Severity
from tui.planning.fee_caps import FeeCap, fee_cap
from tui.planning.policy import signing_policy
from tui.ports.clock import Clock
from tui.ports.signer import Signer

RENEW_AFTER = 24 * 60 * 60
"""Seconds after which the signer gets the same policy with a later end."""


class CannotArm(Exception):
    """A rule was not armed; the text says why."""


class Armory:
    """Which rules are armed, and that the signer allows what they need and nothing else."""

    def __init__(
        self, book: RuleBook, signer: Signer | None, prospect: Prospect, clock: Clock, chain_id: int, teller: Teller
    ) -> None:
        self._book = book
        self._signer = signer
        self._prospect = prospect
        self._clock = clock
        self._chain_id = chain_id
        self._teller = teller
        self._signing = asyncio.Lock()
        self._behind = False
        self._given_at = 0.0
        self._native_price_usd: int | None = None
        self._base_fee = 0
        self._trouble: str | None = None
        self._open: set[str] = set()
        self.policies: dict[str, SigningPolicy] = {}
        """What the signer was given, by account: one policy for each whose key an armed rule needs."""

    @property
    def policy_until(self) -> float | None:
        """When the first of the signer's policies ends by itself (unix seconds), None without one."""
        return min((float(one.expires_at) for one in self.policies.values()), default=None)

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong between the armed rules and the signer."""
        withheld = () if self._signer is None or not self._book.armed else self._signer.withheld
        lines = [f"the signer left out of what it was asked to allow: {clean_text(one, 160)}" for one in withheld]
        return (*lines, *(() if self._trouble is None else (self._trouble,)))

    def fee_cap(self, rule: Rule, snapshot: Snapshot) -> FeeCap:
        """What the signer lets a transaction's gas come to for a rule: as it was armed, or would be at `snapshot`."""
        if rule.name in self._book.armed:
            return fee_cap(rule, self._native_price_usd, self._base_fee)
        return fee_cap(rule, snapshot.native_price_usd, snapshot.block.base_fee)

    async def arm(self, rule: Rule, account: str, keys: Mapping[str, tuple[Path, str]], snapshot: Snapshot) -> Armed:
        """Unlock every key that a rule needs on a position of `account` in the signer (`keys`: key file and password
        by account), give it what the armed rules and this one need of each, and arm.

        Raises CannotArm, with nothing armed that was not before.
        """
        if self._signer is None:
            raise CannotArm("nothing can be armed in a window that does not sign")
        missing = [one for one in rule.signers(account) if one not in keys]
        if missing:
            raise CannotArm(f"the rule needs the key of {', '.join(missing)}, which was not given")
        async with self._signing:
            try:
                for owner in rule.signers(account):
                    await self._unlock(owner, *keys[owner])
                armed = self._prepared(rule, account, snapshot)
                self._native_price_usd, self._base_fee = snapshot.native_price_usd, snapshot.block.base_fee
                wanted = self._policies_of({**self._book.armed, rule.name: armed})
                for owner in rule.signers(account):
                    await self._give(wanted[owner])
            except (SignerRefused, SignerUnavailable) as refused:
                self._behind = True
                raise CannotArm(str(refused)) from refused
            except CannotArm:
                self._behind = True
                raise
            now = self._book.rule(rule.name)
            if now is None or now.digest != rule.digest:
                self._behind = True
                raise CannotArm("the rule changed while the keystore was opened; look at it again")
            self._book.armed[rule.name] = armed
            self._book.disarmed.pop(rule.name, None)
            await self._look_at_others(wanted, rule.signers(account))
            return armed

    async def _unlock(self, account: str, keystore: Path, password: str) -> None:
        assert self._signer is not None
        opened = await self._signer.unlock(keystore, password)
        self._open.add(opened.lower())
        if opened.lower() != account:
            raise CannotArm(f"the key file opens {opened}, not {account}")

    async def _look_at_others(self, wanted: Mapping[str, SigningPolicy], unlocked: Sequence[str]) -> None:
        """An unlock may have started a new signer in place of one that was gone, and then it has no other key: rules
        that need one are not armed any more, and say so.
        """
        for owner in [one for one in wanted if one not in unlocked]:
            try:
                await self._give(wanted[owner])
            except SignerUnavailable as gone:
                self._fell_short(str(gone))
            except SignerRefused:
                self.policies.pop(owner, None)
                self._open.discard(owner)
                for name in [one.rule.name for one in self._book.armed.values() if owner in one.keys]:
                    why = f"the signer was started anew and has the key of {short_address(owner)} no more; arm it again"
                    self.disarm(name, why, Severity.ALARM)

    def disarm(self, name: str, why: str, severity: Severity) -> bool:
        """Stop a rule at once, and say so; False where it was not armed. `settle` tells the signer."""
        if self._book.armed.pop(name, None) is None:
            return False
        self._behind = True
        self._book.disarmed[name] = why
        self._teller.say(severity, f"{name}: disarmed, {clean_text(why, 300)}", kind="disarmed", rule=name)
        return True

    async def settle(self) -> None:
        """Bring the signer in line with what is armed, and renew its policy once a day. Tried again until it works."""
        due = bool(self._book.armed) and self._clock.now() - self._given_at >= RENEW_AFTER
        if self._signer is None or not (self._behind or due) or self._signing.locked():
            return
        async with self._signing:
            self._behind = False
            try:
                await self._bring_in_line()
            except SignerUnavailable as gone:
                self._fell_short(str(gone))
            except SignerRefused as refused:
                self._fell_short(str(refused))
            else:
                self._trouble = None

    async def _bring_in_line(self) -> None:
        """Each account's policy as the armed rules need it; keys that none of them needs are forgotten."""
        assert self._signer is not None
        wanted = self._policies_of(self._book.armed)
        if not wanted:
            await self._signer.lock()
            self._open.clear()
            self.policies.clear()
            return
        for account in sorted((self._open | set(self.policies)) - set(wanted)):
            await self._signer.lock(account)
            self._open.discard(account)
            self.policies.pop(account, None)
        for policy in wanted.values():
            await self._give(policy)

    def _fell_short(self, reason: str) -> None:
        """Told once; the rules stay as they are in memory, and the signer is asked again."""
        self._behind = True
        said = f"the signer did not take what is armed now: {clean_text(reason, 160)}"
        if said != self._trouble:
            self._trouble = said
            self._teller.say(Severity.WARNING, said, kind="signer")

    async def _give(self, policy: SigningPolicy) -> None:
        assert self._signer is not None
        await self._signer.set_policy(policy)
        self.policies[policy.account] = policy
        self._given_at = self._clock.now()
        self._trouble = None
        for line in self._signer.withheld:
            text = f"the signer left out of what it was asked to allow: {clean_text(line, 160)}"
            self._teller.say_once(Severity.WARNING, text, kind="withheld", about=line)

    def _prepared(self, rule: Rule, account: str, snapshot: Snapshot) -> Armed:
        """What the rule stands on: its scopes for the signer and the markets as they are, taken once and for good."""
        positions = positions_for(rule, snapshot, (account,))
        baselines = {}
        for position in positions:
            baseline = baseline_of(rule, position, snapshot)
            if baseline is None:
                raise CannotArm(f"{position.id} cannot be read now: {position.unknown or 'its market does not answer'}")
            baselines[position.id] = baseline
        scopes = tuple(scope_of(rule, position, snapshot, self._prospect) for position in positions)
        return Armed(rule, account, self._clock.now(), scopes, MappingProxyType(baselines))

    def _policies_of(self, armed: Mapping[str, Armed]) -> dict[str, SigningPolicy]:
        """For each account whose key is needed, the union of what the rules were armed with: reads that fail later take
        nothing from it, or add to it.
        """
        scopes = [scope for one in armed.values() for scope in one.scopes]
        accounts = dict.fromkeys(key for one in armed.values() for key in one.keys)
        now, price, fee = self._clock.now(), self._native_price_usd, self._base_fee
        return {one: signing_policy(self._chain_id, one, scopes, price, now, fee) for one in accounts}
