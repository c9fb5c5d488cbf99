"""`trimtab helper show | verify | deploy | revoke | delegate | undelegate`: the contract that does sales.

Show and verify only read. The others sign a few transactions by hand, each simulated and agreed to before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from tui.chain.client import ChainClient, open_chain
from tui.config.options import Options, UsageError, options_from
from tui.engine.byhand import ByHand, CannotDo, Hands, NotFinal
from tui.engine.killswitch import KillSwitch
from tui.headless.helper_delegation import delegate, undelegate
from tui.headless.helper_errands import deploy, revoke
from tui.headless.helper_reading import markets_of
from tui.headless.helper_show import look, show, verify
from tui.headless.helper_signing import Run, finish_earlier, signer_of, tell
from tui.headless.next_block import first_head, states_of
from tui.headless.output import Exit, talk
from tui.journal.store import open_journal
from tui.model.block import BlockRef
from tui.model.network import Network
from tui.ports.chain import ChainUnreachable, ReadFailed
from tui.ports.journal import JournalError, JournalLocked
from tui.wiring import find_keystores, paths_of, resolve_network

ACTS: dict[str, Callable[[Run], Awaitable[int]]] = {
    "deploy": deploy,
    "revoke": revoke,
    "delegate": delegate,
    "undelegate": undelegate,
}
"""What signs, by the command's word."""
_OF_ONE_MARKET = ("deploy", "delegate")


def run_helper(args: argparse.Namespace) -> int:
    """Run a parsed `helper` command; the exit code."""
    signing = args.helper_command in ACTS
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
async def _open(network: Network) -> AsyncIterator[tuple[ChainClient, AsyncIterator[BlockRef], BlockRef]]:
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
            raise ChainUnreachable(
                f"no chain reached: {states_of(chain.reader)}; check --rpc or the network file"
            ) from None
        yield chain, heads, block
    finally:
        await heads.aclose()  # type: ignore[attr-defined]
        await chain.aclose()


def _reading_work(args: argparse.Namespace, options: Options, network: Network) -> Coroutine[Any, Any, int]:
    account = _account_toshow(options)
    shown = show if args.helper_command == "show" else verify

    async def work() -> int:
        async with _open(network) as (chain, _heads, block):
            return shown(await look(chain.reader, block, network, args.market, account), args.json)

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


def _signing_work(args: argparse.Namespace, options: Options, network: Network) -> Coroutine[Any, Any, int]:
    """Everything that must be there before a chain is asked; the signer process starts before any loop."""
    from tui.vault.client import spawn_signer
    from tui.vault.hardening import forbid_dumps

    forbid_dumps()
    if options.read_only:
        raise UsageError(f"helper {args.helper_command} signs; leave --read-only out")
    signer = signer_of(args, options)
    market = args.market
    if args.helper_command in _OF_ONE_MARKET and len(markets_of(network, market)) > 1:
        names = ", ".join(one.name for one in markets_of(network, market))
        raise UsageError(f"network {network.name} has several markets, each with a helper: give --market ({names})")
    state = paths_of(options).state
    journal = open_journal(state)
    try:
        client = spawn_signer(state)
    except BaseException:
        journal.close()
        raise
    act = ACTS[args.helper_command]

    async def work() -> int:
        try:
            async with _open(network) as (chain, heads, block):
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
                hand = ByHand(hands, network, KillSwitch(state).is_on, tell)
                await hand.bind()
                block = await finish_earlier(hand, signer, block)
                seen = await look(chain.reader, block, network, market, signer.account)
                return await act(Run(hand, signer, chain.reader, seen, bool(args.json)))
        finally:
            client.close()
            journal.close()

    return work()
