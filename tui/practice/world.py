"""The living market: each step publishes prices, lets the actors move and mines exactly one block."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tui.practice.abi import calldata, decode_words
from tui.practice.actors import (
    BORROW_TOPIC,
    WAD,
    Move,
    arbitrage_moves,
    decode_holdings,
    holdings_calls,
    liquidation_move,
    pin_moves,
    publish_moves,
)
from tui.practice.deploy import MAX_FEE_WEI
from tui.practice.market import Market
from tui.practice.rpc import Rpc
from tui.practice.scenarios import PriceDriver, Quote

HEARTBEAT_S = 60
"""A feed publishes at least this often in chain time, moved or not."""
_MAX_LIQUIDATIONS_A_BLOCK = 5


class Clock(Protocol):
    """Time as ``World.run`` needs it: a reading in seconds that never goes back."""

    def __call__(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Step:
    """What one block brought.

    ``prices`` are the feeds' answers after it (USD, 8 decimals), ``base_fee`` wei, ``health_factors`` wad by account
    (2**256 - 1 without debt). ``done`` and ``failed`` say in words which actors' transactions were mined.
    """

    number: int
    block: int
    timestamp: int
    prices: dict[str, int]
    base_fee: int
    health_factors: dict[str, int]
    done: tuple[str, ...]
    failed: tuple[str, ...]
    liquidated: tuple[str, ...]
    over: bool


class World:
    """Drives a node that does not mine by itself. Not safe for two threads at once."""

    def __init__(self, rpc: Rpc, market: Market, driver: PriceDriver, accounts: tuple[str, ...] = ()) -> None:
        """``accounts`` are watched from the start; every other borrower of the pool is found by its events."""
        self.rpc = rpc
        self.market = market
        self.driver = driver
        self.steps = 0
        self.liquidations: dict[str, int] = {}
        self._accounts: dict[str, None] = dict.fromkeys(accounts)
        self._published: dict[str, int] = {}
        self._published_at: dict[str, int] = {}
        self._next_log_block = 0
        self._pool_prices: dict[str, int] = {}
        self._health: dict[str, int] = {}
        self._available = 0
        self._timestamp = 0
        self._started = False

    @property
    def accounts(self) -> tuple[str, ...]:
        """Every account whose health is watched."""
        return tuple(self._accounts)

    def start(self) -> None:
        """Take the node's mining over and read where the market stands."""
        self.rpc.call("evm_setAutomine", False)
        self._observe()
        self._started = True

    def step(self) -> Step:
        """Advance the market by exactly one block.

        Raises:
            PracticeError: the node is gone.
            RpcError: the node refused what it was asked.
        """
        if not self._started:
            self.start()
        quote = self.driver.next()
        timestamp = self._timestamp + quote.seconds
        moves = self._moves(quote, timestamp)
        hashes = self._send(moves, quote, timestamp)
        receipts = self.rpc.batch([("eth_getTransactionReceipt", [each]) for each in hashes])
        done: list[str] = []
        failed: list[str] = []
        liquidated: list[str] = []
        for (move, victim), receipt in zip(moves, receipts, strict=True):
            good = receipt is not None and int(receipt["status"], 16) == 1
            (done if good else failed).append(move.what)
            if good and victim is not None:
                liquidated.append(victim)
                self.liquidations[victim] = self.liquidations.get(victim, 0) + 1
        self.steps += 1
        block = self._observe()
        return Step(
            number=self.steps,
            block=int(block["number"], 16),
            timestamp=self._timestamp,
            prices=dict(self._published),
            base_fee=int(block["baseFeePerGas"], 16),
            health_factors=dict(self._health),
            done=tuple(done),
            failed=tuple(failed),
            liquidated=tuple(liquidated),
            over=self.driver.over,
        )

    def run(
        self,
        stop: threading.Event,
        interval_s: float,
        clock: Clock,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        """Step every ``interval_s`` of ``clock`` until ``stop`` is set; a late step does not make later ones hurry."""
        due = clock() + interval_s
        while not stop.wait(max(0.0, due - clock())):
            step = self.step()
            if on_step is not None:
                on_step(step)
            due = max(due + interval_s, clock())

    def _moves(self, quote: Quote, timestamp: int) -> list[tuple[Move, str | None]]:
        """The block's transactions, each with the account it liquidates, if any."""
        recent = {
            symbol: answer
            for symbol, answer in self._published.items()
            if timestamp - self._published_at[symbol] < HEARTBEAT_S
        }
        published = publish_moves(self.market, quote.answers, recent)
        by_feed = {token.feed: symbol for symbol, token in self.market.tokens.items()}
        for move in published:
            symbol = by_feed[move.to]
            self._published[symbol] = quote.answers[symbol]
            self._published_at[symbol] = timestamp
        moves: list[tuple[Move, str | None]] = [(move, None) for move in published]
        moves += self._liquidations()
        moves += [(move, None) for move in arbitrage_moves(self.market, self._published, self._pool_prices)]
        moves += [(move, None) for move in pin_moves(self.market, quote.pinned, self._available)]
        return moves

    def _liquidations(self) -> list[tuple[Move, str | None]]:
        """Calls against what stood below 1 at the latest block, the worst first."""
        fallen = sorted((health, account) for account, health in self._health.items() if health < WAD)
        moves: list[tuple[Move, str | None]] = []
        for _, account in fallen[:_MAX_LIQUIDATIONS_A_BLOCK]:
            reads = [
                ("eth_call", [{"to": to, "data": data}, "latest"]) for to, data in holdings_calls(self.market, account)
            ]
            holdings = decode_holdings(self.market, self.rpc.batch(reads))
            move = liquidation_move(self.market, account, holdings, self._published)
            if move is not None:
                moves.append((move, account))
        return moves

    def _send(self, moves: list[tuple[Move, str | None]], quote: Quote, timestamp: int) -> list[str]:
        senders = list(dict.fromkeys(move.sender for move, _ in moves))
        counts = self.rpc.batch([("eth_getTransactionCount", [sender, "latest"]) for sender in senders])
        nonces = {sender: int(count, 16) for sender, count in zip(senders, counts, strict=True)}
        requests: list[tuple[str, list[Any]]] = [
            ("evm_setNextBlockTimestamp", [timestamp]),
            ("anvil_setNextBlockBaseFeePerGas", [hex(quote.base_fee)]),
        ]
        for move, _ in moves:
            requests.append(
                (
                    "eth_sendTransaction",
                    [
                        {
                            "from": move.sender,
                            "to": move.to,
                            "data": move.data,
                            "nonce": hex(nonces[move.sender]),
                            "gas": hex(move.gas),
                            "maxFeePerGas": hex(MAX_FEE_WEI),
                            "maxPriorityFeePerGas": hex(move.tip),
                        }
                    ],
                )
            )
            nonces[move.sender] += 1
        results = self.rpc.batch(requests)
        self.rpc.call("evm_mine")
        return results[2:]

    def _observe(self) -> dict[str, Any]:
        """Read what the next block's actors act on; returns the latest block."""
        market = self.market
        block: dict[str, Any] = self.rpc.call("eth_getBlockByNumber", "latest", False)
        height = int(block["number"], 16)
        self._timestamp = int(block["timestamp"], 16)
        if height >= self._next_log_block:
            self._find_borrowers(height)
        pinned = market.tokens[self.driver.scenario.pinned or "USDC"]
        calls = [(pool.address, calldata("slot0()")) for pool in market.pools]
        calls.append((pinned.address, calldata("balanceOf(address)", pinned.a_token)))
        calls += [(market.pool, calldata("getUserAccountData(address)", account)) for account in self._accounts]
        if not self._published:
            calls += [(token.feed, calldata("latestRoundData()")) for token in market.tokens.values()]
        results = self.rpc.batch([("eth_call", [{"to": to, "data": data}, "latest"]) for to, data in calls])
        answers = iter(results)
        self._pool_prices = {pool.address: decode_words(["uint160"], next(answers)[:66])[0] for pool in market.pools}
        self._available = decode_words(["uint256"], next(answers))[0]
        self._health = {account: decode_words(["uint256"] * 6, next(answers))[5] for account in self._accounts}
        for symbol, result in zip(market.tokens, answers, strict=False):
            _, answer, _, updated, _ = decode_words(["uint80", "int256", "uint256", "uint256", "uint80"], result)
            self._published[symbol], self._published_at[symbol] = answer, updated
        return block

    def _find_borrowers(self, height: int) -> None:
        span = {
            "address": self.market.pool,
            "topics": [BORROW_TOPIC],
            "fromBlock": hex(self._next_log_block),
            "toBlock": hex(height),
        }
        for log in self.rpc.call("eth_getLogs", span):
            (account,) = decode_words(["address"], log["topics"][2])
            self._accounts.setdefault(account)
        self._next_log_block = height + 1
