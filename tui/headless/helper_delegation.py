"""`trimtab helper delegate | undelegate`: the helper's code as an account's own (EIP-7702), and an account without any.

Nothing is delegated to but the packaged code, seen at its address on as many nodes as must agree, at the block of the
signature. Taking a delegation away takes any away, whosever code it is.
"""

from __future__ import annotations

from tui.engine.byhand import CannotDo, Wish
from tui.headless.helper_reading import Delegation, HelperFacts, code_call, differences
from tui.headless.helper_show import Seen, look, seen_json, whose
from tui.headless.helper_signing import Run, outcome_json
from tui.headless.output import Exit, data, data_json, talk
from tui.model.calls import Call, Simulation
from tui.model.intent import Firing
from tui.model.pinned import NO_CODE, PinnedCode
from tui.model.plan import PlannedCall
from tui.model.position import PositionKey
from tui.protocols.aave_v3.sales import HELPER
from tui.protocols.erc20 import decode_uint

DELEGATE, UNDELEGATE = "delegate the account to the helper", "take the account's delegation away"


async def delegate(run: Run) -> int:
    """Set the account's code to the helper of the one market; the exit code. Raises CannotDo, NotFinal."""
    (facts,) = run.seen.helpers
    account, found = run.signer.account, run.seen.delegation
    if facts.faults:
        mend = "never use it" if facts.deployed else "run `trimtab helper deploy` first"
        raise CannotDo(f"at {facts.helper.address}, where the helper stands, {'; '.join(facts.faults)}: {mend}")
    if found is not None and found.delegate == facts.helper.address:
        talk(f"{account} is delegated to the helper already, code as packaged: nothing to do")
        _tell_end(run, run.seen, None)
        return Exit.DONE
    if found is not None and not found.is_helper:
        raise CannotDo(
            f"{account} is delegated to {found.delegate}, which is none of Trimtab's helpers and may do anything with "
            "the account: take that away first with `trimtab helper undelegate`, and look at what it did"
        )
    wish = Wish(
        DELEGATE,
        PositionKey(facts.market, account),
        (_setting(account, facts.helper.pinned, f"delegate the account to the helper of {facts.market}"),),
        (code_call(facts.helper.address), Call(account, HELPER)),
        lambda simulation: acts_as(facts, simulation),
    )
    title = (
        f"Delegate {account} to the helper of {facts.market} on {run.seen.network.name} (EIP-7702)",
        f"    address   {facts.helper.address}, code as packaged",
        f"    code hash {facts.helper.code_hash}",
        "    from then on the account runs that code when it calls itself; nobody else can make it act.",
        "    it holds on this chain alone, until `trimtab helper undelegate` takes it away",
    )
    firing = await run.done(wish, title)
    if firing is None:
        return Exit.FOUND
    after = await _look_again(run)
    _tell_end(run, after, firing)
    if after.delegation is None or not after.delegation.is_helper or after.delegation.delegate != facts.helper.address:
        talk(f"{account} is NOT delegated to the helper: {_delegated_to(after.delegation)}")
        return Exit.FOUND
    talk("delegated, final: sales are one transaction of the account to itself, and need no approval")
    return Exit.DONE


async def undelegate(run: Run) -> int:
    """Make the account a plain one again, whatever it is delegated to; the exit code. Raises CannotDo, NotFinal."""
    if run.seen.delegation is None:
        talk(f"{run.signer.account} is delegated to nobody: nothing to do")
        _tell_end(run, run.seen, None)
        return Exit.DONE
    firing = await take_away(run, run.seen.delegation)
    if firing is None:
        return Exit.FOUND
    after = await _look_again(run)
    _tell_end(run, after, firing)
    return tell_plain(after)


async def take_away(run: Run, found: Delegation) -> Firing | None:
    """Take a delegation away; None where the answer was no. Raises CannotDo, NotFinal."""
    account = run.signer.account
    wish = Wish(
        UNDELEGATE,
        PositionKey(run.seen.helpers[0].market, account),
        (_setting(account, NO_CODE, f"take away the delegation to {found.delegate}"),),
        (code_call(account),),
        _is_plain,
    )
    title = (
        f"Take away the delegation of {account} on {run.seen.network.name} (EIP-7702)",
        f"    now       {found.delegate}, {whose(found)}",
    )
    return await run.done(wish, title)


def tell_plain(after: Seen) -> int:
    """Say whether the account is a plain one now; the exit code."""
    if after.delegation is not None:
        talk(f"{after.account} is still delegated: {_delegated_to(after.delegation)}")
        return Exit.FOUND
    talk(f"taken away, final: {after.account} is a plain account")
    return Exit.DONE


def _setting(account: str, delegate: PinnedCode, words: str) -> PlannedCall:
    return PlannedCall(account, b"", 0, words, None, delegate=delegate)


def acts_as(facts: HelperFacts, simulation: Simulation) -> str | None:
    """What is wrong with a simulated delegation, if anything: the packaged code must stand at its address, and the
    account must answer as the helper does.
    """
    code, itself = simulation.reads
    if code.data is None:
        return f"simulated, the helper's code cannot be read: {code.error}"
    faults = "; ".join(differences(facts.helper, code.data))
    if faults:
        return f"simulated, {facts.helper.address} is not the helper: {faults}"
    if decode_uint(itself.data) != int(facts.helper.address, 16):
        return "simulated, the account would not run the helper's code: this chain may not know EIP-7702 yet"
    return None


def _is_plain(simulation: Simulation) -> str | None:
    return None if simulation.reads[0].data == b"" else "simulated, the account would still carry code"


async def _look_again(run: Run) -> Seen:
    block = run.hand.newest or await run.hand.head()
    return await look(run.reader, block, run.seen.network, None, run.signer.account)


def _delegated_to(found: Delegation | None) -> str:
    return "it is delegated to nobody" if found is None else f"{found.delegate}, {whose(found)}"


def _tell_end(run: Run, seen: Seen, firing: Firing | None) -> None:
    if run.as_json:
        data_json({**seen_json(seen), "outcome": None if firing is None else outcome_json(firing)})
    elif seen.delegation is not None:
        data(seen.delegation.delegate)
