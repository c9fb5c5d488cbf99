"""What `trimtab helper` tells: a market's helper, its code, what it may take or borrow, a delegation; text and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.headless.as_json import Json, block_json
from tui.headless.helper_reading import (
    Credit,
    Delegation,
    HelperFacts,
    Receipts,
    markets_of,
    read_delegation,
    read_helpers,
)
from tui.headless.output import Exit, data, data_json
from tui.model.block import BlockRef
from tui.model.network import Network
from tui.model.units import format_units
from tui.ports.chain import Reader
from tui.protocols.aave_v3.helper import DEPLOYER

_UNLIMITED = 2**255


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that the commands show, at one block."""

    block: BlockRef
    network: Network
    account: str | None
    helpers: tuple[HelperFacts, ...]
    delegation: Delegation | None


async def look(reader: Reader, block: BlockRef, network: Network, market: str | None, account: str | None) -> Seen:
    """The helpers of the network's markets, or of the one named, and the account's delegation.

    Raises UsageError, ReadFailed, ChainUnreachable.
    """
    helpers = await read_helpers(reader, block, network, markets_of(network, market), account)
    delegation = None if account is None else await read_delegation(reader, block, account, helpers)
    return Seen(block, network, account, helpers, delegation)


def show(seen: Seen, as_json: bool) -> int:
    """Print it; the exit code."""
    if as_json:
        data_json(seen_json(seen))
        return Exit.DONE
    data(f"{seen.network.name}, block {seen.block.number}")
    for facts in seen.helpers:
        _print_helper(facts)
        _print_given(facts.given, seen.account)
    _print_delegation(seen)
    return Exit.DONE


def _print_helper(facts: HelperFacts) -> None:
    data(f"{facts.market}  helper {facts.helper.address}  {_state(facts)}")
    data(f"    pool      {facts.helper.pool}")
    data(f"    router    {facts.helper.router}")
    data(f"    code hash {facts.helper.code_hash}")
    if not facts.deployed and not facts.deployer_stands:
        data(f"    the deployer {DEPLOYER} is missing on this chain; `trimtab helper deploy` says what to do")
    if facts.configured is not None and facts.configured.lower() != facts.helper.address:
        data(f"    the network file names another helper: {facts.configured}")


def _state(facts: HelperFacts) -> str:
    if not facts.deployed:
        return "NOT DEPLOYED"
    return "NOT THE PACKAGED CODE" if facts.faults else "deployed, code as packaged"


def _print_given(given: Sequence[Receipts | Credit], account: str | None) -> None:
    if account is None:
        data("    give --address or --keystore to see what it may take and borrow")
        return
    for one in given:
        may = f"borrow {amount(one)} on" if isinstance(one, Credit) else f"take  {amount(one)} of"
        data(f"    may {may} {account}")
    if not given:
        data(f"    may take  nothing of {account}")


def amount(given: Receipts | Credit) -> str:
    """`1.5 aWETH`, or that there is no limit."""
    if given.allowed >= _UNLIMITED:
        return f"any amount of {given.symbol}"
    return f"{format_units(given.allowed, given.decimals)} {given.symbol}"


def _print_delegation(seen: Seen) -> None:
    if seen.account is None:
        return
    if seen.delegation is None:
        data(f"{seen.account} is delegated to nobody")
        return
    data(f"{seen.account} is delegated to {seen.delegation.delegate}: {whose(seen.delegation)}")


def whose(delegation: Delegation) -> str:
    """Whose code the account runs, in words, and what to do about it where it is not ours."""
    if delegation.is_helper:
        return "the helper, code as packaged"
    return "NOT one of these helpers; `trimtab helper undelegate` takes it away"


def seen_json(seen: Seen) -> Json:
    """All of it, for scripts."""
    return {
        "chain_id": seen.network.chain_id,
        "block": block_json(seen.block),
        "account": seen.account,
        "helpers": [helper_json(facts, seen.account) for facts in seen.helpers],
        "delegation": None
        if seen.delegation is None
        else {"delegate": seen.delegation.delegate, "is_helper": seen.delegation.is_helper},
    }


def helper_json(facts: HelperFacts, account: str | None) -> Json:
    """One helper, for scripts. `allowed` (of aTokens) and `credit` (of what it may borrow; `token` is the debt token)
    are null where no account was named.
    """
    allowed, credit = (
        [
            {"token": one.token, "symbol": one.symbol, "amount": str(one.allowed), "decimals": one.decimals}
            for one in facts.given
            if isinstance(one, kind)
        ]
        for kind in (Receipts, Credit)
    )
    return {
        "market": str(facts.market),
        "address": facts.helper.address,
        "deployed": facts.deployed,
        "as_packaged": facts.deployed and not facts.faults,
        "faults": list(facts.faults),
        "code_hash": facts.helper.code_hash,
        "pool": facts.helper.pool,
        "router": facts.helper.router,
        "configured": facts.configured,
        "allowed": None if account is None else allowed,
        "credit": None if account is None else credit,
    }


def verify(seen: Seen, as_json: bool) -> int:
    """Print whether each helper is the packaged one; the exit code, 1 where one is not."""
    alone = len(seen.helpers) == 1
    faults = [[*facts.faults, *_configured_faults(facts, alone)] for facts in seen.helpers]
    if as_json:
        rows = [
            {**helper_json(facts, seen.account), "faults": own} for facts, own in zip(seen.helpers, faults, strict=True)
        ]
        data_json({**seen_json(seen), "helpers": rows})
    else:
        for facts, own in zip(seen.helpers, faults, strict=True):
            data(f"{facts.market}  helper {facts.helper.address}  {_verdict(facts, own)}")
            if facts.deployed and not facts.faults:
                data(f"    all {len(facts.code)} bytes, pool {facts.helper.pool}, router {facts.helper.router}")
            for fault in own:
                data(f"    {fault}")
    return Exit.FOUND if any(faults) else Exit.DONE


def _verdict(facts: HelperFacts, faults: Sequence[str]) -> str:
    if not facts.deployed:
        return "NOT DEPLOYED"
    return "DIFFERS" if faults else "as packaged"


def _configured_faults(facts: HelperFacts, alone: bool) -> tuple[str, ...]:
    """A network file may name one helper: where it has one market, that market's."""
    if facts.configured is None or facts.configured.lower() == facts.helper.address or not alone:
        return ()
    return (f"the network file names another helper: {facts.configured}; it should be {facts.helper.address}",)
