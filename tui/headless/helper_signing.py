"""Signing by hand, as `trimtab helper` does it: whose key, what it costs, the question, and following it to its end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tui.config.options import Options, UsageError
from tui.engine.byhand import ByHand, NotFinal, Wish
from tui.headless.as_json import Json, usd
from tui.headless.helper_show import Seen
from tui.headless.output import talk
from tui.model.block import BlockRef
from tui.model.errand import Errand
from tui.model.intent import Firing, FiringState
from tui.model.plan import PlanCost
from tui.model.text import clean_text
from tui.model.units import format_units, usd_text
from tui.ports.chain import Reader
from tui.ports.journal import Decision
from tui.wiring import find_keystores, paths_of, read_passwords


@dataclass(slots=True)
class Signer:
    """Whose key signs: the file, and its password once it is known."""

    account: str
    keystore: Path
    password: str | None
    may_ask: bool

    def the_password(self) -> str:
        """The password, asked for where nobody gave it. Raises UsageError."""
        if self.password is None:
            self.password = _ask_password(self.keystore)
        return self.password


@dataclass(frozen=True, slots=True)
class Run:
    """One signing command under way."""

    hand: ByHand
    signer: Signer
    reader: Reader
    seen: Seen
    as_json: bool

    async def done(self, wish: Wish, title: Sequence[str]) -> Firing | None:
        """Draft it, ask, carry it out; None where the answer was no. Raises CannotDo, NotFinal."""
        errand = await self.hand.draft(wish, self.seen.block)
        for line in (*title, *_cost_lines(errand, self.signer.account)):
            talk(line)
        if self.signer.may_ask and not _agreed():
            talk("nothing was signed")
            return None
        firing = await self.hand.carry_out(wish, errand, self.signer.keystore, self.signer.the_password())
        if firing.state is not FiringState.DONE:
            raise NotFinal(f"it ended as {firing.state.lower()}: {clean_text(firing.reason, 200) or 'no reason told'}")
        return firing


def signer_of(args: argparse.Namespace, options: Options) -> Signer:
    keystores = find_keystores(options, paths_of(options))
    passwords = read_passwords(options, tuple(keystores))
    if len(options.addresses) > 1:
        raise UsageError("give one --address")
    if options.addresses:
        keystores = {account: path for account, path in keystores.items() if account == options.addresses[0]}
    if len(keystores) != 1:
        found = "no key file" if not keystores else f"{len(keystores)} key files"
        raise UsageError(f"helper {args.helper_command} signs, and there is {found} to sign with; give --keystore FILE")
    ((account, keystore),) = keystores.items()
    password = None if passwords is None else passwords[account]
    alone = not (sys.stdin.isatty() and sys.stderr.isatty())
    if alone and not args.yes:
        raise UsageError("there is nobody to ask: give --yes to sign without")
    if alone and password is None:
        raise UsageError("give --password-file FILE or --password-fd N: there is nobody to ask")
    return Signer(account, keystore, password, may_ask=not args.yes)


def _ask_password(keystore: Path) -> str:
    from tui.vault.errors import KeystoreError, printable
    from tui.vault.passwords import hidden_prompt

    try:
        return hidden_prompt(f"Password of {printable(keystore)}: ")
    except KeystoreError as error:
        raise UsageError(str(error)) from error


def _agreed() -> bool:
    """What the person at the terminal answers; anything but yes is no."""
    sys.stderr.write("Sign and send? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def tell(decision: Decision) -> None:
    at = "" if decision.block is None else f"block {decision.block}: "
    talk(f"{at}{clean_text(decision.text, 400)}")


async def finish_earlier(hand: ByHand, signer: Signer, block: BlockRef) -> BlockRef:
    """Carry on with what such a command left when it was stopped; the block to go on from."""
    if not hand.left_over(signer.account):
        return block
    talk("an earlier command of this kind was stopped before its end; first that one:")
    await hand.finish(signer.account, signer.keystore, signer.the_password())
    return await hand.head()


def _cost_lines(errand: Errand, account: str) -> tuple[str, ...]:
    cost, fees = errand.cost, errand.fees
    most = cost.most_gas * fees.ceiling + (cost.l1_fee_wei or 0)
    likely = "" if cost.gas_usd is None else f" (${usd_text(cost.gas_usd)})"
    at_most = "" if cost.gas_ceiling_usd is None else f" (${usd_text(cost.gas_ceiling_usd)})"
    return (
        f"    by        {account}, {_count(len(errand.calls))}",
        f"    gas       {cost.gas_units:,}, {cost.most_gas:,} at most",
        f"    cost      about {format_units(cost.gas_wei, 18, 6)}{likely}, never above {format_units(most, 18, 6)}"
        f"{at_most} of the native coin" + _unknown_words(cost),
    )


def _unknown_words(cost: PlanCost) -> str:
    if cost.l1_fee_wei is None:
        return ", and what layer 1 charges for its data, which is not known: l1_fee_oracle gives no answer"
    held = "; while layer 1 charges no more for data than now" if cost.l1_fee_wei else ""
    return held if cost.gas_usd is not None else "; its price is not known: set native_usd_feed in the network file"


def _count(calls: int) -> str:
    return "1 transaction" if calls == 1 else f"{calls} transactions"


def outcome_json(firing: Firing) -> Json:
    return {
        "firing": firing.id,
        "transactions": [
            {
                "hash": intent.included_hash,
                "block": intent.included_block,
                "gas_used": intent.gas_used,
                "gas_paid_wei": None if intent.gas_paid_wei is None else str(intent.gas_paid_wei),
            }
            for intent in firing.intents
        ],
        "cost_usd": usd(firing.cost_usd),
    }
