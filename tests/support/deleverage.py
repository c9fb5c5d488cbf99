"""Hands for tests of the deleverage helper: positions near the edge with real keys, orders, permits, delegations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from tests.support.chain import Chain, keyed_account
from tui.practice.abi import calldata
from tui.practice.accounts import OWNER
from tui.practice.rpc import RpcError
from tui.practice.tokens import ASSET_BY_SYMBOL
from tui.protocols.aave_v3.helper import CLEARED, DEPLOYER, Helper, Order, deleverage_data, deleverage_with_permit_data

WAD = 10**18
FAR = 2**40
GAS = 3_000_000


@dataclass(frozen=True)
class Receipt:
    """What became of a transaction; `reason` where it reverted."""

    ok: bool
    gas: int
    logs: list[dict[str, Any]]
    reason: str = ""


def the_helper(chain: Chain) -> Helper:
    """The helper of the practice market, deployed or not."""
    return Helper(chain.market.pool.lower(), chain.market.router02.lower())


def remove_code(chain: Chain, *addresses: str) -> None:
    """As if nothing had ever been made there: no code, and the nonce of an address that made nothing."""
    for address in addresses:
        chain.rpc("anvil_setCode", address, "0x")
        chain.rpc("anvil_setNonce", address, "0x0")


def deploy(chain: Chain) -> Helper:
    """Deploy it through the deterministic deployer, unless it is there."""
    helper = the_helper(chain)
    if code_at(chain, helper.address) == helper.code:
        return helper
    receipt = transact(chain, OWNER, DEPLOYER, helper.deploy_data)
    assert receipt.ok, receipt.reason
    return helper


def code_at(chain: Chain, address: str) -> bytes:
    return bytes.fromhex(chain.rpc("eth_getCode", address, "latest")[2:])


def transact(chain: Chain, sender: str, to: str | None, data: bytes | str, value: int = 0, gas: int = GAS) -> Receipt:
    """Send from any account, mined at once, whether it reverts or not."""
    text = data if isinstance(data, str) else "0x" + data.hex()
    chain.rpc("anvil_impersonateAccount", sender)
    request = {"from": sender, "data": text, "value": hex(value), "gas": hex(gas)}
    if to is not None:
        request["to"] = to
    return _mined(chain, request, "eth_sendTransaction", request)


def _mined(chain: Chain, request: dict[str, Any], method: str, parameter: object) -> Receipt:
    chain.rpc("evm_setAutomine", False)
    transaction = chain.rpc(method, parameter)
    chain.rpc("evm_mine")
    chain.rpc("evm_setAutomine", True)
    found = chain.rpc("eth_getTransactionReceipt", transaction)
    ok = int(found["status"], 16) == 1
    return Receipt(ok, int(found["gasUsed"], 16), found["logs"], "" if ok else why(chain, request))


def why(chain: Chain, request: dict[str, Any]) -> str:
    """The reason that a call would revert with now; empty where it would not."""
    try:
        chain.rpc("eth_call", request, "latest")
    except RpcError as error:
        return str(error)
    return ""


def refused(chain: Chain, sender: str, to: str, data: bytes) -> str:
    """The reason for which a call reverts; the test fails if it does not."""
    receipt = transact(chain, sender, to, data)
    assert not receipt.ok, "it went through"
    return receipt.reason


class Holder:
    """Someone with a key and a leveraged position: `amount` of collateral, debt up to `health`, nothing in hand."""

    def __init__(
        self, chain: Chain, number: int, collateral: str = "WETH", debt: str = "USDC", dollars: int = 150_000
    ) -> None:
        self.chain, self.collateral, self.debt = chain, collateral, debt
        self.address, key = keyed_account(number)
        self.key: LocalAccount = Account.from_key(key)
        chain.set_ether(self.address, 10 * WAD)
        chain.supply(
            self.address, collateral, dollars * 10**8 * chain.token(collateral).unit // chain.price(collateral)
        )

    def borrow_to(self, health: int = 105 * WAD // 100) -> Holder:
        """Borrow until health (wad) is just above; what was borrowed is spent."""
        chain = self.chain
        collateral, debt, _, threshold, _, _ = chain.account_data(self.address)
        wanted = collateral * threshold * WAD // 10_000 // health - debt
        amount = wanted * chain.token(self.debt).unit // chain.price(self.debt)
        chain.borrow(self.address, self.debt, amount)
        chain.send(self.address, chain.token(self.debt).address, "transfer(address,uint256)", OWNER, amount)
        return self

    @property
    def health(self) -> int:
        return self.chain.health_factor(self.address)

    @property
    def nonce(self) -> int:
        return int(self.chain.rpc("eth_getTransactionCount", self.address, "latest"), 16)

    def supplied(self, symbol: str | None = None) -> int:
        token = self.chain.token(symbol or self.collateral).a_token
        return int(self.chain.call(token, "balanceOf(address)", ["uint256"], self.address))

    def owed(self, symbol: str | None = None) -> int:
        token = self.chain.token(symbol or self.debt).v_token
        return int(self.chain.call(token, "balanceOf(address)", ["uint256"], self.address))

    def path(self, *between: int | str) -> bytes:
        """A path for an exact output: fees and symbols from the debt to the collateral (default: one pool of 5 bp)."""
        parts = between or (500,)
        packed = b"".join(
            one.to_bytes(3, "big") if isinstance(one, int) else bytes.fromhex(self.chain.token(one).address[2:])
            for one in parts
        )
        return (
            bytes.fromhex(self.chain.token(self.debt).address[2:])
            + packed
            + bytes.fromhex(self.chain.token(self.collateral).address[2:])
        )

    def order(self, target: int = 150, **changes: Any) -> Order:
        """An order that brings health to about `target` hundredths and sells at most one hundredth too much."""
        chain = self.chain
        collateral, debt, _, threshold, _, _ = chain.account_data(self.address)
        own = ASSET_BY_SYMBOL[self.collateral].liquidation_threshold
        repaid = (target * debt * 100 - collateral * threshold) * 1000 // (target * 100 * 1000 - own * 1002)
        order = Order(
            debt=chain.token(self.debt).address.lower(),
            collateral=chain.token(self.collateral).address.lower(),
            amount=repaid * chain.token(self.debt).unit // chain.price(self.debt),
            max_sold=repaid * 101 // 100 * chain.token(self.collateral).unit // chain.price(self.collateral),
            min_health=(target - 1) * WAD // 100,
            deadline=FAR,
            path=self.path(),
        )
        return replace(order, **changes)

    def approve(self, helper: Helper, amount: int) -> Receipt:
        """Let the helper take aTokens of the collateral."""
        data = calldata("approve(address,uint256)", helper.address, amount)
        return transact(self.chain, self.address, self.chain.token(self.collateral).a_token, data)

    def call(self, helper: Helper, order: Order) -> Receipt:
        """`deleverage` of the helper."""
        return transact(self.chain, self.address, helper.address, deleverage_data(order))

    def signed_permit(self, helper: Helper, order: Order) -> bytes:
        """Calldata of `deleverage_with_permit`, signed."""
        signature = self.permit(helper.address, order.max_sold, order.deadline)
        return deleverage_with_permit_data(order, signature[0], signature[1], signature[2])

    def permit(self, spender: str, value: int, deadline: int) -> tuple[int, bytes, bytes]:
        """v, r, s of a permit of the collateral's aToken."""
        chain, token = self.chain, self.chain.token(self.collateral).a_token
        name = chain.call(token, "name()", ["string"])
        nonce = chain.call(token, "nonces(address)", ["uint256"], self.address)
        fields = {"owner": "address", "spender": "address", "value": "uint256", "nonce": "uint256"}
        signed = self.key.sign_typed_data(
            {"name": name, "version": "1", "chainId": chain.market.chain_id, "verifyingContract": token},
            {"Permit": [{"name": one, "type": kind} for one, kind in {**fields, "deadline": "uint256"}.items()]},
            {"owner": self.address, "spender": spender, "value": value, "nonce": nonce, "deadline": deadline},
        )
        return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")

    def delegated(self, delegate: str, data: bytes = b"", gas: int = GAS) -> Receipt:
        """A type-4 transaction to the own account that delegates it and, in the same breath, calls it."""
        chain, nonce = self.chain, self.nonce
        authorization = self.key.sign_authorization(
            {"chainId": chain.market.chain_id, "address": bytes.fromhex(delegate[2:]), "nonce": nonce + 1}
        )
        return self.signed(data, authorizationList=[authorization], gas=gas)

    def undelegated(self) -> Receipt:
        """Take the delegation away."""
        return self.delegated(CLEARED)

    def signed(self, data: bytes, gas: int = GAS, **more: Any) -> Receipt:
        """A transaction to the own account, signed with the key."""
        chain = self.chain
        transaction = {
            "chainId": chain.market.chain_id,
            "nonce": self.nonce,
            "to": self.address,
            "value": 0,
            "data": "0x" + data.hex(),
            "gas": gas,
            "maxFeePerGas": 10**11,
            "maxPriorityFeePerGas": 10**9,
            **more,
        }
        raw = self.key.sign_transaction(transaction).raw_transaction
        request = {"from": self.address, "to": self.address, "data": "0x" + data.hex(), "gas": hex(gas)}
        return _mined(chain, request, "eth_sendRawTransaction", "0x" + raw.hex())
