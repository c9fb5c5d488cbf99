# pragma version ==0.4.3
# pragma evm-version cancun
# pragma optimize gas
# @license MIT
"""
@title Sells collateral of an Aave V3 position for its debt, in one transaction
@notice Flash loan -> repay -> withdraw -> swap -> return the loan, then the health factor is held against a floor.
        Nobody owns this contract, nothing of it can change, it keeps no storage and holds nothing between
        transactions. One code works in two ways:

        as a helper, to which a holder approves aTokens (or signs their permit): it acts for msg.sender alone;
        as the EIP-7702 delegate of an account: then only the account itself may call, and towards everybody else it
        behaves like the plain account it was: it takes ether and safe transfers, and its key's signatures are valid.

        Interest and rounding are the pool's. Only debt at the variable rate is repaid. Tokens that take a fee on
        transfers are refused by their balances; tokens that return nothing are taken.
"""

interface Token:
    def approve(spender: address, amount: uint256) -> bool: nonpayable
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable
    def balanceOf(owner: address) -> uint256: view
    def allowance(owner: address, spender: address) -> uint256: view


struct Reserve:
    configuration: uint256
    liquidity_index: uint256
    liquidity_rate: uint256
    borrow_index: uint256
    borrow_rate: uint256
    stable_rate: uint256
    updated_at: uint256
    id: uint256
    a_token: address
    stable_token: address
    variable_token: address
    strategy: address
    accrued: uint256
    unbacked: uint256
    isolated_debt: uint256


interface Pool:
    def flashLoanSimple(
        receiver: address, asset: address, amount: uint256, params: Bytes[MAX_PARAMS], referral: uint16
    ): nonpayable
    def repay(asset: address, amount: uint256, rate_mode: uint256, owner: address) -> uint256: nonpayable
    def withdraw(asset: address, amount: uint256, to: address) -> uint256: nonpayable
    def getReserveData(asset: address) -> Reserve: view
    def getUserAccountData(owner: address) -> (uint256, uint256, uint256, uint256, uint256, uint256): view


struct ExactOutput:
    path: Bytes[MAX_PATH]
    recipient: address
    amount_out: uint256
    most_in: uint256


interface Router:
    def exactOutput(params: ExactOutput) -> uint256: payable


event Deleveraged:
    owner: indexed(address)
    debt: indexed(address)
    collateral: indexed(address)
    repaid: uint256
    sold: uint256
    premium: uint256
    health_factor: uint256


MAX_POOLS: constant(uint256) = 3
MAX_PATH: constant(uint256) = 96  # an address, then a fee and an address for each pool, and what fills three words
MAX_PARAMS: constant(uint256) = 256
VARIABLE_RATE: constant(uint256) = 2

IDLE: constant(uint256) = 0
ASKED: constant(uint256) = 1
SERVED: constant(uint256) = 2

HALF_ORDER: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168
IS_VALID: constant(bytes4) = 0x1626ba7e
NOT_VALID: constant(bytes4) = 0xffffffff

HELPER: public(immutable(address))
POOL: public(immutable(address))
ROUTER: public(immutable(address))

phase: transient(uint256)
owner: transient(address)
repaid: transient(uint256)
sold: transient(uint256)
premium: transient(uint256)


@deploy
def __init__(pool: address, router: address):
    """
    @param pool The market's pool, which also lends
    @param router Uniswap's SwapRouter02
    """
    HELPER = self
    POOL = pool
    ROUTER = router


@external
def deleverage(
    debt: address,
    collateral: address,
    amount: uint256,
    max_sold: uint256,
    min_health: uint256,
    deadline: uint256,
    pools: uint256,
    path: bytes32[3],
) -> (uint256, uint256, uint256):
    """
    @notice Repay debt of the caller and pay for it with the caller's collateral.
    @param debt The token that is owed
    @param collateral The token that is sold; as a helper, max_sold of its aToken must be approved
    @param amount Base units of debt to repay; the largest number repays all that is owed
    @param max_sold Base units of collateral that may be sold at most; what is not sold goes back into the position
    @param min_health The least health factor (18 decimals) that may be left
    @param deadline Unix time after which nothing is done
    @param pools How many pools the path goes through, one to three
    @param path The path as Uniswap packs it for an exact output, debt first and collateral last, filled with zeros
    @return Base units repaid, base units sold, health factor left
    """
    return self._run(debt, collateral, amount, max_sold, min_health, deadline, pools, path)


@external
def deleverage_with_permit(
    debt: address,
    collateral: address,
    amount: uint256,
    max_sold: uint256,
    min_health: uint256,
    deadline: uint256,
    pools: uint256,
    path: bytes32[3],
    v: uint8,
    r: bytes32,
    s: bytes32,
) -> (uint256, uint256, uint256):
    """
    @notice The same, with the caller's permit of the aToken for exactly max_sold until the same deadline.
    @dev A permit that somebody else has already handed in has done its work: what counts is the allowance.
    """
    used: bool = raw_call(
        self._a_token(collateral),
        abi_encode(
            msg.sender, self, max_sold, deadline, v, r, s,
            method_id=method_id("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
        ),
        revert_on_failure=False,
    )
    return self._run(debt, collateral, amount, max_sold, min_health, deadline, pools, path)


@external
def executeOperation(
    asset: address, amount: uint256, premium: uint256, initiator: address, params: Bytes[MAX_PARAMS]
) -> bool:
    """
    @notice The pool hands over the loan that this contract asked for. Nobody else can get past the first lines.
    """
    assert msg.sender == POOL, "not the pool"
    assert initiator == self, "not our loan"
    self._serve(POOL, asset, amount, premium, params)
    return True


@external
@view
def isValidSignature(digest: bytes32, signature: Bytes[65]) -> bytes4:
    """
    @notice A delegated account has code, so contracts ask it whether a signature is its own (ERC-1271): it is if the
            account's key made it, as before.
    """
    if len(signature) != 65:
        return NOT_VALID
    r: uint256 = extract32(signature, 0, output_type=uint256)
    s: uint256 = extract32(signature, 32, output_type=uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    if s > HALF_ORDER or ecrecover(digest, v, r, s) != self:
        return NOT_VALID
    return IS_VALID


@external
@payable
@raw_return
def __default__() -> Bytes[32]:
    """
    @notice A delegated account goes on taking ether, and answers safe transfers of NFTs with the word they want.
            The helper takes nothing.
    """
    assert self != HELPER, "nothing is kept here"
    if len(msg.data) < 4:
        return b""
    called: bytes4 = convert(slice(msg.data, 0, 4), bytes4)
    if (
        called == method_id("onERC721Received(address,address,uint256,bytes)", output_type=bytes4)
        or called == method_id("onERC1155Received(address,address,uint256,uint256,bytes)", output_type=bytes4)
        or called == method_id("onERC1155BatchReceived(address,address,uint256[],uint256[],bytes)", output_type=bytes4)
    ):
        return concat(called, empty(bytes28))
    return b""


@internal
def _run(
    debt: address,
    collateral: address,
    amount: uint256,
    max_sold: uint256,
    min_health: uint256,
    deadline: uint256,
    pools: uint256,
    words: bytes32[3],
) -> (uint256, uint256, uint256):
    assert self.phase == IDLE, "busy"
    assert self == HELPER or msg.sender == self, "not the account"
    assert block.timestamp <= deadline, "too late"
    assert debt != collateral, "nothing to swap"
    assert max_sold != max_value(uint256), "no limit"
    path: Bytes[MAX_PATH] = self._path(debt, collateral, pools, words)
    self.phase = ASKED
    self.owner = msg.sender
    loan: uint256 = amount
    if amount == max_value(uint256):
        loan = staticcall Token((staticcall Pool(POOL).getReserveData(debt)).variable_token).balanceOf(msg.sender)
    a_token: address = empty(address)
    if msg.sender != self:
        a_token = self._a_token(collateral)
    held: uint256 = staticcall Token(debt).balanceOf(self)

    extcall Pool(POOL).flashLoanSimple(self, debt, loan, abi_encode(collateral, a_token, max_sold, path), 0)
    assert self.phase == SERVED, "no loan came"

    self._disallow(debt, POOL)
    left: uint256 = staticcall Token(debt).balanceOf(self)
    assert left >= held, "debt token lost"
    if left > held and msg.sender != self:
        assert extcall Token(debt).transfer(msg.sender, left - held, default_return_value=True), "not returned"
    health: uint256 = (staticcall Pool(POOL).getUserAccountData(msg.sender))[5]
    assert health >= min_health, "health under the floor"
    log Deleveraged(
        owner=msg.sender,
        debt=debt,
        collateral=collateral,
        repaid=self.repaid,
        sold=self.sold,
        premium=self.premium,
        health_factor=health,
    )
    self.owner = empty(address)
    self.phase = IDLE
    return self.repaid, self.sold, health


@internal
def _serve(lender: address, asset: address, amount: uint256, premium: uint256, params: Bytes[MAX_PARAMS]):
    """
    @dev Works with a loan from any lender that fetches amount + premium by itself afterwards. The caller has made
         sure that the lender is one of ours and that this contract asked it.
    """
    assert self.phase == ASKED, "no loan was asked for"
    self.phase = SERVED
    owner: address = self.owner
    collateral: address = empty(address)
    a_token: address = empty(address)
    max_sold: uint256 = 0
    path: Bytes[MAX_PATH] = b""
    collateral, a_token, max_sold, path = abi_decode(params, (address, address, uint256, Bytes[MAX_PATH]))

    self._allow(asset, POOL, amount + amount + premium)
    repaid: uint256 = extcall Pool(POOL).repay(asset, amount, VARIABLE_RATE, owner)

    held: uint256 = staticcall Token(collateral).balanceOf(self)
    taken: uint256 = max_sold
    if owner != self:
        assert extcall Token(a_token).transferFrom(owner, self, max_sold), "aTokens not approved"
        # The helper owns no other aTokens, so that "all" is what just came, to the wei that rounding may have moved.
        taken = max_value(uint256)
    taken = extcall Pool(POOL).withdraw(collateral, taken, self)
    assert staticcall Token(collateral).balanceOf(self) == held + taken, "fee on transfer"

    # What the repayment did not need of the loan is still here: it need not be bought.
    self._allow(collateral, ROUTER, min(taken, max_sold))
    extcall Router(ROUTER).exactOutput(
        ExactOutput(path=path, recipient=self, amount_out=repaid + premium, most_in=min(taken, max_sold))
    )
    self._disallow(collateral, ROUTER)

    rest: uint256 = (staticcall Token(collateral).balanceOf(self)) - held
    assert taken - rest <= max_sold, "sold too much"
    if rest > 0:
        self._put_back(collateral, rest, owner)
    if lender != POOL:
        self._disallow(asset, POOL)
        self._allow(asset, lender, amount + premium)
    self.repaid = repaid
    self.sold = taken - rest
    self.premium = premium


@internal
def _put_back(collateral: address, amount: uint256, owner: address):
    """
    @dev Into the position again; where the pool takes no more of it (frozen, cap reached, dust), to the owner.
    """
    self._allow(collateral, POOL, amount)
    supplied: bool = raw_call(
        POOL,
        abi_encode(
            collateral, amount, owner, convert(0, uint16),
            method_id=method_id("supply(address,uint256,address,uint16)"),
        ),
        revert_on_failure=False,
    )
    self._disallow(collateral, POOL)
    if not supplied and owner != self:
        assert extcall Token(collateral).transfer(owner, amount, default_return_value=True), "not returned"


@internal
def _allow(token: address, spender: address, amount: uint256):
    self._disallow(token, spender)
    assert extcall Token(token).approve(spender, amount, default_return_value=True), "not approved"


@internal
def _disallow(token: address, spender: address):
    if staticcall Token(token).allowance(self, spender) != 0:
        assert extcall Token(token).approve(spender, 0, default_return_value=True), "not approved"


@internal
@view
def _a_token(asset: address) -> address:
    a_token: address = (staticcall Pool(POOL).getReserveData(asset)).a_token
    assert a_token != empty(address), "not in this market"
    return a_token


@internal
@pure
def _path(debt: address, collateral: address, pools: uint256, words: bytes32[3]) -> Bytes[MAX_PATH]:
    assert pools != 0 and pools <= MAX_POOLS, "one to three pools"
    size: uint256 = 20 + 23 * pools
    path: Bytes[MAX_PATH] = slice(concat(words[0], words[1], words[2]), 0, size)
    assert convert(slice(path, 0, 20), address) == debt, "path does not start with the debt"
    assert convert(slice(path, size - 20, 20), address) == collateral, "path does not end with the collateral"
    return path
