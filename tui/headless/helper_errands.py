"""`trimtab helper deploy | revoke`: putting the helper on the chain, and taking back all that an account gave it."""

from __future__ import annotations

from collections.abc import Callable

from tui.engine.byhand import CannotDo, Wish
from tui.headless.helper_delegation import take_away, tell_plain
from tui.headless.helper_reading import Credit, HelperFacts, Receipts, code_call, credit_call, differences
from tui.headless.helper_show import amount, helper_json, look, seen_json
from tui.headless.helper_signing import Run, outcome_json
from tui.headless.output import Exit, data, data_json, talk
from tui.model.calls import Call, Simulation
from tui.model.intent import Firing
from tui.model.plan import PlannedCall
from tui.model.position import PositionKey
from tui.model.units import format_units
from tui.protocols import erc20
from tui.protocols.aave_v3.helper import DEPLOYER, DEPLOYER_MAKER, DEPLOYER_TRANSACTION, DEPLOYER_WEI
from tui.protocols.aave_v3.helper_orders import approve_delegation_data

DEPLOY, REVOKE = "deploy the helper", "revoke what the helper may take"


async def deploy(run: Run) -> int:
    """Put the helper of the one market where it must stand; the exit code. Raises CannotDo, NotFinal."""
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


def _deployed(facts: HelperFacts, run: Run, firing: Firing | None) -> None:
    if run.as_json:
        outcome = None if firing is None else outcome_json(firing)
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


async def revoke(run: Run) -> int:
    """Take back allowances, credit and a delegation to any of the helpers; the exit code. Raises CannotDo, NotFinal."""
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
    ours = after.delegation is not None and after.delegation.is_helper
    if after.delegation is not None and ours:
        firing = await take_away(run, after.delegation)
        if firing is None:
            return Exit.FOUND
        firings.append(firing)
        block = run.hand.newest or await run.hand.head()
        after = await look(run.reader, block, run.seen.network, None, run.signer.account)
    if run.as_json:
        data_json({**seen_json(after), "outcomes": [outcome_json(firing) for firing in firings]})
    if ours:
        return tell_plain(after)
    if after.delegation is None:
        return Exit.DONE
    talk(
        f"{after.account} is delegated to {after.delegation.delegate} (EIP-7702), which is none of Trimtab's helpers: "
        "`trimtab helper undelegate` takes that away"
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
