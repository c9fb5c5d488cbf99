"""Hands for tests on a real local market: prices, positions, blocks and time, each in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import coincurve
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from tui.practice.abi import calldata, decode_words
from tui.practice.accounts import OWNER
from tui.practice.deploy import Deployer
from tui.practice.market import VARIABLE_RATE, Market, Token
from tui.practice.node import Node
from tui.practice.tokens import FEED_UNIT, MAX_UINT256, give

ETHER = 10**18


def keyed_account(number: int) -> tuple[str, bytes]:
    """Address and private key of a made-up account; the same number gives the same one."""
    key = keccak(b"trimtab test account" + number.to_bytes(8, "big"))
    public = coincurve.PrivateKey(key).public_key.format(compressed=False)[1:]
    return to_checksum_address(keccak(public)[12:]), key


class Chain:
    """A node with a deployed market. Amounts are base units; accounts need no key, the node impersonates them."""

    def __init__(self, node: Node, market: Market) -> None:
        self.node = node
        self.market = market
        self.url = node.url
        self.automine = True
        self._known: set[str] = {OWNER}
        self._made = 0

    # -- the chain itself

    def rpc(self, method: str, *params: object) -> Any:
        """One JSON-RPC request; an error answer raises ``tui.practice.rpc.RpcError``."""
        return self.node.rpc.call(method, *params)

    def mine(self, blocks: int = 1) -> int:
        """Mine ``blocks`` blocks and return the new height."""
        for _ in range(blocks):
            self.rpc("evm_mine")
        return self.block_number()

    def advance(self, seconds: int) -> int:
        """Let ``seconds`` pass up to the next block, mine it, return its timestamp."""
        timestamp = int(self.block()["timestamp"], 16) + seconds
        self.rpc("evm_setNextBlockTimestamp", timestamp)
        self.mine()
        return timestamp

    def set_automine(self, on: bool) -> None:
        """Off, transactions wait in the pool until ``mine``; the helpers here mine their own at once all the same."""
        self.rpc("evm_setAutomine", on)
        self.automine = on

    def block_number(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    def block(self, tag: str | int = "latest") -> dict[str, Any]:
        """A block without its transactions' bodies, as the node gives it."""
        found: dict[str, Any] = self.rpc("eth_getBlockByNumber", hex(tag) if isinstance(tag, int) else tag, False)
        return found

    def call(self, to: str, signature: str, returns: list[str], *args: object, block: object = "latest") -> Any:
        """Read a view function: the one value where ``returns`` has one type, else a tuple."""
        result = self.rpc("eth_call", {"to": to, "data": calldata(signature, *args)}, block)
        values = decode_words(returns, result)
        return values[0] if len(values) == 1 else values

    def send(self, sender: str, to: str, signature: str, *args: object, value: int = 0) -> None:
        """Send a call from any account and mine it; raises ``PracticeError`` with the reason if it reverts."""
        deployer = self._deployer(sender)
        deployer.do(to, signature, *args, value=value)
        deployer.flush()

    # -- accounts

    def new_account(self, ether: int = 1_000) -> str:
        """A fresh address with ``ether`` ether and nothing else."""
        self._made += 1
        address, _ = keyed_account(1_000_000 + self._made)
        self.set_ether(address, ether * ETHER)
        return address

    def set_ether(self, account: str, wei: int) -> None:
        self.rpc("anvil_setBalance", account, hex(wei))

    def ether(self, account: str) -> int:
        """Balance in wei."""
        return int(self.rpc("eth_getBalance", account, "latest"), 16)

    def token(self, symbol: str) -> Token:
        return self.market.tokens[symbol]

    def units(self, symbol: str, amount: int | str | Decimal) -> int:
        """``amount`` whole tokens in base units."""
        return int(Decimal(amount) * self.token(symbol).unit)

    def balance(self, symbol: str, account: str) -> int:
        return int(self.call(self.token(symbol).address, "balanceOf(address)", ["uint256"], account))

    def give(self, symbol: str, amount: int, to: str) -> None:
        """Mint (or wrap) ``amount`` base units for ``to``."""
        deployer = self._deployer(OWNER)
        give(deployer, {name: token.address for name, token in self.market.tokens.items()}, symbol, amount, to)
        deployer.flush()

    def take(self, symbol: str, account: str, *, but: int = 0) -> None:
        """Have ``account`` pay away all that it holds of a token but so many base units."""
        token, amount = self.token(symbol).address, self.balance(symbol, account) - but
        self.send(account, token, "transfer(address,uint256)", self.market.pool, amount)

    def approve(self, account: str, symbol: str, spender: str, amount: int = MAX_UINT256) -> None:
        self.send(account, self.token(symbol).address, "approve(address,uint256)", spender, amount)

    # -- the market

    def price(self, symbol: str) -> int:
        """The feed's answer, USD with 8 decimals."""
        return int(self.call(self.token(symbol).feed, "latestAnswer()", ["int256"]))

    def set_price(self, symbol: str, usd: int | str | Decimal) -> None:
        """Have the feed publish ``usd``; digits past the eighth decimal are refused."""
        answer = Decimal(usd) * FEED_UNIT
        if answer != int(answer):
            raise ValueError(f"{usd} has more than 8 decimals")
        self.set_answer(symbol, int(answer))

    def set_answer(self, symbol: str, answer: int) -> None:
        """Have the feed publish a raw answer, sensible or not."""
        self.send(OWNER, self.token(symbol).feed, "setAnswer(int256)", answer)

    def supply(self, account: str, symbol: str, amount: int) -> None:
        """Mint, approve and supply ``amount`` as collateral."""
        token, pool = self.token(symbol).address, self.market.pool
        self.give(symbol, amount, account)
        deployer = self._deployer(account)
        deployer.do(token, "approve(address,uint256)", pool, amount)
        deployer.do(pool, "supply(address,uint256,address,uint16)", token, amount, account, 0)
        deployer.flush()

    def withdraw(self, account: str, symbol: str, amount: int = MAX_UINT256) -> None:
        self.send(
            account,
            self.market.pool,
            "withdraw(address,uint256,address)",
            self.token(symbol).address,
            amount,
            account,
        )

    def borrow(self, account: str, symbol: str, amount: int) -> None:
        """Borrow at the variable rate into the account's wallet."""
        self.send(
            account,
            self.market.pool,
            "borrow(address,uint256,uint256,uint16,address)",
            self.token(symbol).address,
            amount,
            VARIABLE_RATE,
            0,
            account,
        )

    def repay(self, account: str, symbol: str, amount: int) -> None:
        """Approve and repay from the account's wallet; ``MAX_UINT256`` repays all of it."""
        token, pool = self.token(symbol).address, self.market.pool
        deployer = self._deployer(account)
        deployer.do(token, "approve(address,uint256)", pool, amount)
        deployer.do(pool, "repay(address,uint256,uint256,address)", token, amount, VARIABLE_RATE, account)
        deployer.flush()

    def set_collateral(self, account: str, symbol: str, on: bool) -> None:
        signature = "setUserUseReserveAsCollateral(address,bool)"
        self.send(account, self.market.pool, signature, self.token(symbol).address, on)

    def set_emode(self, account: str, category: int) -> None:
        """1 is ETH correlated, 2 stablecoins, 0 none."""
        self.send(account, self.market.pool, "setUserEMode(uint8)", category)

    def account_data(self, account: str, block: object = "latest") -> tuple[int, int, int, int, int, int]:
        """Collateral, debt, available to borrow (USD, 8 decimals), threshold, ltv (bps), health factor (wad)."""
        values = self.call(self.market.pool, "getUserAccountData(address)", ["uint256"] * 6, account, block=block)
        return (values[0], values[1], values[2], values[3], values[4], values[5])

    def health_factor(self, account: str) -> int:
        """Wad; 2**256 - 1 without debt."""
        return self.account_data(account)[5]

    @contextmanager
    def code_as(self, code: str, *addresses: str) -> Iterator[None]:
        """``code`` stands at addresses meanwhile."""
        before = [self.rpc("eth_getCode", address, "latest") for address in addresses]
        for address in addresses:
            self.rpc("anvil_setCode", address, code)
        try:
            yield
        finally:
            for address, own in zip(addresses, before, strict=True):
                self.rpc("anvil_setCode", address, own)

    def send_raw(self, raws: Iterable[bytes]) -> None:
        """Signed transactions, one after another."""
        for raw in raws:
            self.rpc("eth_sendRawTransaction", "0x" + raw.hex())

    # -- for the fixtures

    def snapshot(self) -> str:
        return str(self.rpc("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Back to ``snapshot`` with an empty pool and automine on."""
        self.rpc("anvil_dropAllTransactions")
        self.rpc("evm_revert", snapshot)
        self.set_automine(True)

    def _deployer(self, sender: str) -> Deployer:
        if sender not in self._known:
            self.rpc("anvil_impersonateAccount", sender)
            self._known.add(sender)
        return Deployer(self.node.rpc, sender, automine=self.automine)
