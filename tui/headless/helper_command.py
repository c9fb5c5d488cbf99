"""`trimtab helper show | verify | deploy | revoke`: the contract that sells collateral for debt in one transaction.

Show and verify only read. Deploy and revoke sign a few transactions by hand, each simulated and agreed to before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tui.chain.client import ChainClient, open_chain
from tui.config.options import Options, UsageError, options_from
from tui.engine.byhand import ByHand, CannotDo, Hands, NotFinal, Wish
from tui.engine.killswitch import KillSwitch
from tui.headless.as_json import Json, usd
from tui.headless.helper_reading import (
    Credit,
    HelperFacts,
    Receipts,
    code_call,
    credit_call,
    differences,
    markets_of,
)
from tui.headless.helper_show import Seen, amount, helper_json, look, seen_json, show, verify
from tui.headless.output import Exit, data, data_json, talk
from tui.headless.watch_commands import first_head
from tui.journal.store import open_journal
from tui.model.block import BlockRef
from tui.model.calls import Call, Simulation
from tui.model.errand import Errand
from tui.model.intent import Firing, FiringState
from tui.model.network import Network
from tui.model.plan import PlanCost, PlannedCall
from tui.model.position import PositionKey
from tui.model.text import clean_text
from tui.model.units import format_units, usd_text
from tui.ports.chain import ChainUnreachable, Reader, ReadFailed
from tui.ports.journal import Decision, JournalError, JournalLocked
from tui.protocols import erc20
from tui.protocols.aave_v3.helper import DEPLOYER, DEPLOYER_MAKER, DEPLOYER_TRANSACTION, DEPLOYER_WEI
from tui.protocols.aave_v3.helper_orders import approve_delegation_data
from tui.wiring import find_keystores, paths_of, read_password, resolve_network

DEPLOY, REVOKE = "deploy the helper", "revoke what the helper may take"


def run_helper(args: argparse.Namespace) -> int:
    """Run a parsed `helper` command; the exit code."""
    signing = args.helper_command in ("deploy", "revoke")
    try:
        options = options_from(args)
        network = resolve_network(options, paths_of(options))
        markets_of(network, args.market)
        work = _signing_work(args, options, network) if signing else _reading_work(args, options, network)
        return asyncio.run(work)
    except UsageError as error:
        talk(f"trimtab helper: {error}")
        return error.exit_code
    except JournalLocked as locked:
        holder = "an engine" if locked.pid is None else f"the engine with process id {locked.pid}"
        talk(
            f"trimtab helper: {holder} is at work on {Path(locked.where).parent}; stop it, do this, start it again "
            "(one account's transactions belong in one record)"
        )
        return Exit.REFUSED
    except JournalError as error:
        talk(f"trimtab helper: {error}")
        return Exit.REFUSED
    except (ChainUnreachable, ReadFailed) as error:
        talk(f"trimtab helper: {error}")
        return Exit.NO_CHAIN
    except CannotDo as refused:
        talk(f"trimtab helper: nothing was done: {refused}")
        return Exit.REFUSED
    except NotFinal as open_end:
        talk(f"trimtab helper: {open_end}")
        return Exit.REFUSED
    except KeyboardInterrupt:
        if signing:
            talk("interrupted; what was sent already goes on by itself: run the same command again to follow it")
        return Exit.INTERRUPTED


# --- looking -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _chain(network: Network) -> AsyncIterator[tuple[ChainClient, AsyncIterator[BlockRef], BlockRef]]:
    """The chain, its heads and the first of them. Raises ChainUnreachable where none comes."""
    try:
        chain = open_chain(network)
    except ValueError as error:
        raise UsageError(f"network {network.name}: {error}") from error
    heads = chain.heads.heads()
    try:
        try:
            block = await first_head(heads, chain.reader)
        except TimeoutError:
            states = "; ".join(f"{one.url}: {one.state} {one.detail}".strip() for one in chain.reader.providers())
            raise ChainUnreachable(f"no chain reached: {states}; check --rpc or the network file") from None
        yield chain, heads, block
    finally:
        await heads.aclose()  # type: ignore[attr-defined]
        await chain.aclose()


def _reading_work(args: argparse.Namespace, options: Options, network: Network) -> Coroutine[Any, Any, int]:
    account = _account_toshow(options)
    tell = show if args.helper_command == "show" else verify

    async def work() -> int:
        async with _chain(network) as (chain, _heads, block):
            return tell(await look(chain.reader, block, network, args.market, account), args.json)

    return work()


def _account_toshow(options: Options) -> str | None:
    """The account asked for, or the one of the only key file. None: only the helper is shown."""
    if len(options.addresses) > 1:
        raise UsageError("give one --address")
    if options.addresses:
        return options.addresses[0]
    own = find_keystores(options, paths_of(options))
    return next(iter(own)) if len(own) == 1 else None


# --- signing -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Signer:
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


def _signing_work(args: argparse.Namespace, options: Options, network: Network) -> Coroutine[Any, Any, int]:
    """Everything that must be there before a chain is asked; the signer process starts before any loop."""
    from tui.vault.client import spawn_signer
    from tui.vault.hardening import forbid_dumps

    forbid_dumps()
    if options.read_only:
        raise UsageError(f"helper {args.helper_command} signs; leave --read-only out")
    signer = _signer_of(args, options)
    market = args.market
    if args.helper_command == "deploy" and len(markets_of(network, market)) > 1:
        names = ", ".join(one.name for one in markets_of(network, market))
        raise UsageError(f"network {network.name} has several markets, each with a helper: give --market ({names})")
    state = paths_of(options).state
    journal = open_journal(state)
    try:
        client = spawn_signer(state)
    except BaseException:
        journal.close()
        raise
    act = _deploy if args.helper_command == "deploy" else _revoke

    async def work() -> int:
        try:
            async with _chain(network) as (chain, heads, block):
                hands = Hands(
                    heads,
                    chain.reader,
                    chain.simulator,
                    chain.fees,
                    chain.broadcaster,
                    chain.heads.clock,
                    journal,
                    client,
                )
                hand = ByHand(hands, network, KillSwitch(state).is_on, _tell)
                await hand.bind()
                block = await _finish_earlier(hand, signer, block)
                seen = await look(chain.reader, block, network, market, signer.account)
                return await act(_Run(hand, signer, chain.reader, seen, bool(args.json)))
        finally:
            client.close()
            journal.close()

    return work()


@dataclass(frozen=True, slots=True)
class _Run:
    """One signing command under way."""

    hand: ByHand
    signer: _Signer
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


def _signer_of(args: argparse.Namespace, options: Options) -> _Signer:
    keystores = find_keystores(options, paths_of(options))
    if len(options.addresses) > 1:
        raise UsageError("give one --address")
    if options.addresses:
        keystores = {account: path for account, path in keystores.items() if account == options.addresses[0]}
    if len(keystores) != 1:
        found = "no key file" if not keystores else f"{len(keystores)} key files"
        raise UsageError(f"helper {args.helper_command} signs, and there is {found} to sign with; give --keystore FILE")
    ((account, keystore),) = keystores.items()
    password = read_password(options)
    alone = not (sys.stdin.isatty() and sys.stderr.isatty())
    if alone and not args.yes:
        raise UsageError("there is nobody to ask: give --yes to sign without")
    if alone and password is None:
        raise UsageError("give --password-file FILE or --password-fd N: there is nobody to ask")
    return _Signer(account, keystore, password, may_ask=not args.yes)


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


def _tell(decision: Decision) -> None:
    at = "" if decision.block is None else f"block {decision.block}: "
    talk(f"{at}{clean_text(decision.text, 400)}")


async def _finish_earlier(hand: ByHand, signer: _Signer, block: BlockRef) -> BlockRef:
    """Carry on with what such a command left when it was stopped; the block to go on from."""
    if not hand.left_over(signer.account):
        return block
    talk("an earlier command of this kind was stopped before its end; first that one:")
    await hand.finish(signer.account, signer.keystore, signer.the_password())
    return await hand.head()


def _cost_lines(errand: Errand, account: str) -> tuple[str, ...]:
    cost, fees = errand.cost, errand.fees
    most = cost.gas_units * fees.ceiling + (cost.l1_fee_wei or 0)
    likely = "" if cost.gas_usd is None else f" (${usd_text(cost.gas_usd)})"
    at_most = "" if cost.gas_ceiling_usd is None else f" (${usd_text(cost.gas_ceiling_usd)})"
    return (
        f"    by        {account}, {_count(len(errand.calls))}",
        f"    gas       {cost.gas_units:,} at most",
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


def _outcome_json(firing: Firing) -> Json:
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


# --- deploy ------------------------------------------------------------------------------------------------------


async def _deploy(run: _Run) -> int:
    (facts,) = run.seen.helpers
    address = facts.helper.address
    if facts.deployed:
        if facts.faults:
            talk(f"{address} holds code, and not the helper's: {'; '.join(facts.faults)}. Never use it.")
            return Exit.FOUND
        talk("it is deployed already, byte for byte as packaged: nothing to do")
        _deployed(facts, run, None)
        return Exit.DONE
    if not facts.deployer_stands:
        raise CannotDo(_no_deployer())
    call = PlannedCall(DEPLOYER, facts.helper.deploy_data, 0, f"deploy the helper of {facts.market}", None)
    wish = Wish(
        DEPLOY,
        PositionKey(facts.market, run.signer.account),
        (call,),
        (code_call(address),),
        _becomes(facts),
    )
    title = (
        f"Deploy the deleverage helper of {facts.market} on {run.seen.network.name}",
        f"    address   {address}",
        f"    pool      {facts.helper.pool}",
        f"    router    {facts.helper.router}",
    )
    firing = await run.done(wish, title)
    if firing is None:
        return Exit.FOUND
    block = run.hand.newest or await run.hand.head()
    (after,) = (await look(run.reader, block, run.seen.network, facts.market.name, run.signer.account)).helpers
    if after.faults:
        talk(f"{address} is NOT as packaged: {'; '.join(after.faults)}. Never use it.")
        return Exit.FOUND
    talk("deployed, final, byte for byte as packaged")
    _deployed(after, run, firing)
    return Exit.DONE


def _becomes(facts: HelperFacts) -> Callable[[Simulation], str | None]:
    """The simulated deployment leaves exactly the packaged code at the address that follows from it."""

    def judge(simulation: Simulation) -> str | None:
        code = simulation.reads[0].data
        if code is None:
            return f"simulated, its code cannot be read: {simulation.reads[0].error}"
        faults = "; ".join(differences(facts.helper, code))
        return f"simulated, {facts.helper.address} would not be the helper: {faults}" if faults else None

    return judge


def _deployed(facts: HelperFacts, run: _Run, firing: Firing | None) -> None:
    if run.as_json:
        outcome = None if firing is None else _outcome_json(firing)
        data_json({**helper_json(facts, run.signer.account), "outcome": outcome})
    else:
        data(facts.helper.address)
    if facts.configured is None:
        talk(f'to use it, write into the network file:\n[helpers]\ndeleverage = "{facts.helper.address}"')
    elif facts.configured.lower() != facts.helper.address:
        talk(f"the network file names another helper under [helpers]: {facts.configured}; mend it")


def _no_deployer() -> str:
    return (
        f"the deterministic deployer {DEPLOYER} does not stand on this chain. Anybody can make it: send "
        f"{format_units(DEPLOYER_WEI, 18, 2)} of the native coin to {DEPLOYER_MAKER}, broadcast this signed "
        f"transaction (eth_sendRawTransaction), which is public and the same for every chain, and try again:\n"
        f"0x{DEPLOYER_TRANSACTION.hex()}"
    )


# --- revoke ------------------------------------------------------------------------------------------------------


async def _revoke(run: _Run) -> int:
    firings: list[Firing] = []
    for facts in run.seen.helpers:
        if not facts.given:
            talk(f"{facts.market}: the helper {facts.helper.address} may take nothing: nothing to revoke")
            continue
        calls = tuple(_revoking(facts, one) for one in facts.given)
        reads = tuple(_left(facts, one, run.signer.account) for one in facts.given)
        wish = Wish(REVOKE, PositionKey(facts.market, run.signer.account), calls, reads, _all_zero)
        title = (
            f"Revoke what the helper {facts.helper.address} may take",
            *(f"    now       {_what(one)}" for one in facts.given),
        )
        firing = await run.done(wish, title)
        if firing is None:
            return Exit.FOUND
        firings.append(firing)
    after = run.seen
    if firings:
        block = run.hand.newest or await run.hand.head()
        after = await look(run.reader, block, run.seen.network, None, run.signer.account)
        revoked = {facts.market for facts in run.seen.helpers}
        left = [one for facts in after.helpers if facts.market in revoked for one in facts.given]
        if left:
            talk(f"still allowed: {', '.join(map(_what, left))}")
            return Exit.FOUND
        talk("revoked, final: the helper may take nothing")
    if run.as_json:
        data_json({**seen_json(after), "outcomes": [_outcome_json(firing) for firing in firings]})
    if after.delegation is None:
        return Exit.DONE
    talk(
        f"{after.account} is still delegated to {after.delegation.delegate} (EIP-7702), and that is not taken away "
        "here: this version signs no such transaction. Clear it with the wallet that made it."
    )
    return Exit.FOUND


def _what(one: Receipts | Credit) -> str:
    return f"credit for {amount(one)}" if isinstance(one, Credit) else amount(one)


def _left(facts: HelperFacts, one: Receipts | Credit, account: str) -> Call:
    """Asks what is left of it."""
    ask = credit_call if isinstance(one, Credit) else erc20.allowance
    return ask(one.token, account, facts.helper.address)


def _revoking(facts: HelperFacts, one: Receipts | Credit) -> PlannedCall:
    if isinstance(one, Credit):
        data = approve_delegation_data(facts.helper.address, 0)
        return PlannedCall(one.token, data, 0, f"let the helper borrow no {one.symbol} any more", None)
    return PlannedCall(
        one.token,
        erc20.approve_data(facts.helper.address, 0),
        0,
        f"let the helper take no {one.symbol} any more",
        None,
    )


def _all_zero(simulation: Simulation) -> str | None:
    if all(erc20.decode_uint(read.data) == 0 for read in simulation.reads):
        return None
    return "simulated, something would still be allowed"
