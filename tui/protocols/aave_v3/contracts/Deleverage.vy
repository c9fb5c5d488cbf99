# pragma version ==0.4.3
# pragma evm-version cancun
# pragma optimize gas
# @license MIT
"""
@title Reshapes an Aave V3 position in one transaction: less leverage, more, another collateral, another debt
@notice Flash loan -> use it -> buy it back with what the position can pay -> return the loan, then the health factor
        is held against a floor. Two uses and two ways to pay make four functions:

                                    pay by withdrawing and selling      pay by borrowing and selling
            repay with the loan     deleverage                          switch_debt
            supply the loan         switch_collateral                   boost

        Nobody owns this contract, nothing of it can change, it keeps no storage and holds nothing between
        transactions. One code works in two ways:

        as a helper, to which a holder approves aTokens or delegates credit (or signs a permit, a delegation): it acts
        for msg.sender alone, so that what stands approved or delegated is of no use to anybody else;
        as the EIP-7702 delegate of an account: then only the account itself may call, and towards everybody else it
        behaves like the plain account it was: it takes ether and safe transfers, and its key's signatures are valid.

        What is withdrawn is taken whole, up to the limit, swapped by the router, and what is not sold goes back. What
        is borrowed is borrowed in the middle of the swap, when the market tells what it wants: never a unit more than
        is paid, nothing to bring back. So those swaps go to Uniswap's pools without the router.

        Interest and rounding are the pool's. Only debt at the variable rate is repaid and made. Tokens that take a fee
        on transfers are refused by their balances; tokens that return nothing are taken.
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
    def supply(asset: address, amount: uint256, owner: address, referral: uint16): nonpayable
    def borrow(asset: address, amount: uint256, rate_mode: uint256, referral: uint16, owner: address): nonpayable
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
    def factory() -> address: view


interface Factory:
    def getPool(one: address, other: address, fee: uint24) -> address: view


interface Market:
    def swap(
        recipient: address, zero_for_one: bool, amount: int256, price_limit: uint160, data: Bytes[MAX_PATH]
    ) -> (int256, int256): nonpayable


event Deleveraged:
    owner: indexed(address)
    debt: indexed(address)
    collateral: indexed(address)
    repaid: uint256
    sold: uint256
    premium: uint256
    health_factor: uint256


event CollateralSwitched:
    owner: indexed(address)
    received: indexed(address)
    given: indexed(address)
    supplied: uint256
    sold: uint256
    premium: uint256
    health_factor: uint256


event DebtSwitched:
    owner: indexed(address)
    old: indexed(address)
    new: indexed(address)
    repaid: uint256
    borrowed: uint256
    premium: uint256
    health_factor: uint256


event Boosted:
    owner: indexed(address)
    debt: indexed(address)
    collateral: indexed(address)
    supplied: uint256
    borrowed: uint256
    premium: uint256
    health_factor: uint256


MAX_POOLS: constant(uint256) = 3
MAX_PATH: constant(uint256) = 96  # an address, then a fee and an address for each pool, and what fills three words
MAX_PARAMS: constant(uint256) = 288
VARIABLE_RATE: constant(uint256) = 2
LEAST_PRICE: constant(uint160) = 4295128740  # what a swap takes for "at any price" downwards, and upwards
MOST_PRICE: constant(uint160) = 1461446703485210103287273052203988822378723970341

# What is done with the loan and how it is paid for, one bit each; without the bit it is repaid, and withdrawn.
SUPPLIES: constant(uint256) = 1
BORROWS: constant(uint256) = 2

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
used: transient(uint256)
paid: transient(uint256)
premium: transient(uint256)
given: transient(address)  # what may be borrowed for the owner, the most of it,
most: transient(uint256)
market: transient(address)  # and the one market that may ask for it now


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
    return self._run(0, debt, collateral, amount, max_sold, min_health, deadline, pools, path)


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
    """
    self._permit(collateral, max_sold, deadline, v, r, s)
    return self._run(0, debt, collateral, amount, max_sold, min_health, deadline, pools, path)


@external
def switch_collateral(
    received: address,
    sold: address,
    amount: uint256,
    max_sold: uint256,
    min_health: uint256,
    deadline: uint256,
    pools: uint256,
    path: bytes32[3],
) -> (uint256, uint256, uint256):
    """
    @notice Supply one token for the caller and pay for it with the caller's collateral of another.
    @param received The token that is supplied; whether it counts as collateral is the pool's rule, and in the floor
    @param sold The token that is sold; as a helper, max_sold of its aToken must be approved
    @param amount Base units to supply
    @param max_sold Base units of collateral that may be sold at most; what is not sold goes back into the position
    @param min_health The least health factor (18 decimals) that may be left
    @param deadline Unix time after which nothing is done
    @param pools How many pools the path goes through, one to three
    @param path The path as Uniswap packs it for an exact output, received first and sold last, filled with zeros
    @return Base units supplied, base units sold, health factor left
    """
    return self._run(SUPPLIES, received, sold, amount, max_sold, min_health, deadline, pools, path)


@external
def switch_collateral_with_permit(
    received: address,
    sold: address,
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
    """
    self._permit(sold, max_sold, deadline, v, r, s)
    return self._run(SUPPLIES, received, sold, amount, max_sold, min_health, deadline, pools, path)


@external
def switch_debt(
    old: address,
    new: address,
    amount: uint256,
    max_borrowed: uint256,
    min_health: uint256,
    deadline: uint256,
    pools: uint256,
    path: bytes32[3],
) -> (uint256, uint256, uint256):
    """
    @notice Repay debt of the caller and pay for it by borrowing another token for the caller.
    @param old The token that is owed
    @param new The token that will be; as a helper, it needs credit: approveDelegation of its variable debt token
    @param amount Base units of old debt to repay; the largest number repays all that is owed
    @param max_borrowed Base units of the new debt at most; only what the swap takes is borrowed
    @param min_health The least health factor (18 decimals) that may be left
    @param deadline Unix time after which nothing is done
    @param pools How many pools the path goes through, one to three
    @param path The path as Uniswap packs it for an exact output, old first and new last, filled with zeros
    @return Base units repaid, base units borrowed, health factor left
    """
    return self._run(BORROWS, old, new, amount, max_borrowed, min_health, deadline, pools, path)


@external
def switch_debt_with_signature(
    old: address,
    new: address,
    amount: uint256,
    max_borrowed: uint256,
    min_health: uint256,
    deadline: uint256,
    pools: uint256,
    path: bytes32[3],
    v: uint8,
    r: bytes32,
    s: bytes32,
) -> (uint256, uint256, uint256):
    """
    @notice The same, with the caller's signed delegation (DelegationWithSig) for exactly max_borrowed until the same
            deadline. What is not borrowed of it stays delegated, of use to the caller alone.
    """
    self._delegation(new, max_borrowed, deadline, v, r, s)
    return self._run(BORROWS, old, new, amount, max_borrowed, min_health, deadline, pools, path)


@external
def boost(
    debt: address,
    collateral: address,
    amount: uint256,
    max_borrowed: uint256,
    min_health: uint256,
    deadline: uint256,
    pools: uint256,
    path: bytes32[3],
) -> (uint256, uint256, uint256):
    """
    @notice Supply collateral for the caller and pay for it by borrowing for the caller: more of both.
    @param debt The token that is borrowed; as a helper, it needs credit: approveDelegation of its variable debt token
    @param collateral The token that is supplied
    @param amount Base units of collateral to supply
    @param max_borrowed Base units of debt at most; only what the swap takes is borrowed
    @param min_health The least health factor (18 decimals) that may be left
    @param deadline Unix time after which nothing is done
    @param pools How many pools the path goes through, one to three
    @param path The path as Uniswap packs it for an exact output, collateral first and debt last, filled with zeros
    @return Base units supplied, base units borrowed, health factor left
    """
    return self._run(
        SUPPLIES | BORROWS, collateral, debt, amount, max_borrowed, min_health, deadline, pools, path
    )


@external
def boost_with_signature(
    debt: address,
    collateral: address,
    amount: uint256,
    max_borrowed: uint256,
    min_health: uint256,
    deadline: uint256,
    pools: uint256,
    path: bytes32[3],
    v: uint8,
    r: bytes32,
    s: bytes32,
) -> (uint256, uint256, uint256):
    """
    @notice The same, with the caller's signed delegation (DelegationWithSig) for exactly max_borrowed until the same
            deadline. What is not borrowed of it stays delegated, of use to the caller alone.
    """
    self._delegation(debt, max_borrowed, deadline, v, r, s)
    return self._run(
        SUPPLIES | BORROWS, collateral, debt, amount, max_borrowed, min_health, deadline, pools, path
    )


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


# Morpho's free loan would come in here: onMorphoFlashLoan(amount, params), whose first line lets only MORPHO in (it
# calls back nobody but who asked) and which then does self._serve(MORPHO, asset, amount, 0, params). Morpho does not
# name the token, so _run would leave it in transient storage beside the owner, and ask the one lender or the other.
# _serve already makes any lender's loan ready to be fetched.


@external
def uniswapV3SwapCallback(amount0: int256, amount1: int256, rest: Bytes[MAX_PATH]):
    """
    @notice A market that this contract is swapping in wants to be paid: from the next market on the path, and at its
            end with what is borrowed for the owner. Only the market that was just called gets past the first lines,
            once; what is borrowed and how much of it is bounded here, whatever the market says.
    """
    market: address = self.market
    assert msg.sender == market and self.phase == SERVED, "not our swap"
    self.market = empty(address)
    wanted: uint256 = convert(max(amount0, amount1), uint256)
    if len(rest) > 20:
        self._swap(wanted, market, rest)
        return
    token: address = self.given
    self.paid += wanted
    assert self.paid <= self.most, "borrowed too much"
    held: uint256 = staticcall Token(token).balanceOf(self)
    extcall Pool(POOL).borrow(token, wanted, VARIABLE_RATE, 0, self.owner)
    assert staticcall Token(token).balanceOf(self) == held + wanted, "fee on transfer"
    assert extcall Token(token).transfer(market, wanted, default_return_value=True), "not paid"


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
    deal: uint256,
    loaned: address,
    given: address,
    amount: uint256,
    most: uint256,
    min_health: uint256,
    deadline: uint256,
    pools: uint256,
    words: bytes32[3],
) -> (uint256, uint256, uint256):
    """
    @param deal SUPPLIES, BORROWS, both or none
    @param loaned What is lent, used and bought back
    @param given What is withdrawn or borrowed, and sold
    @param most Base units of it at most
    """
    assert self.phase == IDLE, "busy"
    assert self == HELPER or msg.sender == self, "not the account"
    assert block.timestamp <= deadline, "too late"
    assert loaned != given, "nothing to swap"
    assert most != max_value(uint256), "no limit"
    path: Bytes[MAX_PATH] = self._path(loaned, given, pools, words)
    self.phase = ASKED
    self.owner = msg.sender
    loan: uint256 = amount
    if amount == max_value(uint256):
        assert deal & SUPPLIES == 0, "no amount"
        loan = staticcall Token((staticcall Pool(POOL).getReserveData(loaned)).variable_token).balanceOf(msg.sender)
    a_token: address = empty(address)
    if deal & BORROWS == 0 and msg.sender != self:
        a_token = self._a_token(given)
    held: uint256 = staticcall Token(loaned).balanceOf(self)

    extcall Pool(POOL).flashLoanSimple(self, loaned, loan, abi_encode(deal, given, a_token, most, path), 0)
    assert self.phase == SERVED, "no loan came"

    self._disallow(loaned, POOL)
    left: uint256 = staticcall Token(loaned).balanceOf(self)
    assert left >= held, "loaned token lost"
    if left > held and msg.sender != self:
        assert extcall Token(loaned).transfer(msg.sender, left - held, default_return_value=True), "not returned"
    health: uint256 = (staticcall Pool(POOL).getUserAccountData(msg.sender))[5]
    assert health >= min_health, "health under the floor"
    self._tell(deal, loaned, given, health)
    self.owner = empty(address)
    self.phase = IDLE
    return self.used, self.paid, health


@internal
def _serve(lender: address, asset: address, amount: uint256, premium: uint256, params: Bytes[MAX_PARAMS]):
    """
    @dev Works with a loan from any lender that fetches amount + premium by itself afterwards. The caller has made
         sure that the lender is one of ours and that this contract asked it.
    """
    assert self.phase == ASKED, "no loan was asked for"
    self.phase = SERVED
    owner: address = self.owner
    deal: uint256 = 0
    given: address = empty(address)
    a_token: address = empty(address)
    most: uint256 = 0
    path: Bytes[MAX_PATH] = b""
    deal, given, a_token, most, path = abi_decode(params, (uint256, address, address, uint256, Bytes[MAX_PATH]))

    used: uint256 = amount
    self._allow(asset, POOL, amount + amount + premium)
    if deal & SUPPLIES != 0:
        extcall Pool(POOL).supply(asset, amount, owner, 0)
    else:
        used = extcall Pool(POOL).repay(asset, amount, VARIABLE_RATE, owner)
    self.used = used
    self.paid = 0
    self.premium = premium

    # What a repayment did not need of the loan is still here: it need not be bought.
    if deal & BORROWS != 0:
        self.given = given
        self.most = most
        self._swap(used + premium, self, path)
        self.most = 0
    else:
        self._sell(used + premium, given, a_token, most, path, owner)
    if lender != POOL:
        self._disallow(asset, POOL)
        self._allow(asset, lender, amount + premium)


@internal
def _sell(
    bought: uint256, given: address, a_token: address, most: uint256, path: Bytes[MAX_PATH], owner: address
):
    """
    @dev Withdraw the most that may be sold, buy what the loan needs, put the rest back.
    """
    held: uint256 = staticcall Token(given).balanceOf(self)
    taken: uint256 = most
    if owner != self:
        assert extcall Token(a_token).transferFrom(owner, self, most), "aTokens not approved"
        # The helper owns no other aTokens, so that "all" is what just came, to the wei that rounding may have moved.
        taken = max_value(uint256)
    taken = extcall Pool(POOL).withdraw(given, taken, self)
    assert staticcall Token(given).balanceOf(self) == held + taken, "fee on transfer"

    self._allow(given, ROUTER, min(taken, most))
    extcall Router(ROUTER).exactOutput(
        ExactOutput(path=path, recipient=self, amount_out=bought, most_in=min(taken, most))
    )
    self._disallow(given, ROUTER)

    rest: uint256 = (staticcall Token(given).balanceOf(self)) - held
    assert taken - rest <= most, "sold too much"
    if rest > 0:
        self._put_back(given, rest, owner)
    self.paid = taken - rest


@internal
def _swap(bought: uint256, recipient: address, path: Bytes[MAX_PATH]):
    """
    @dev Buy exactly so much of the path's first token from its first market, which then calls back to be paid.
    """
    wanted: address = convert(slice(path, 0, 20), address)
    other: address = convert(slice(path, 23, 20), address)
    fee: uint24 = convert(slice(path, 20, 3), uint24)
    market: address = staticcall Factory(staticcall Router(ROUTER).factory()).getPool(wanted, other, fee)
    assert market != empty(address), "no such market"
    zero_for_one: bool = convert(other, uint160) < convert(wanted, uint160)
    self.market = market
    amount0: int256 = 0
    amount1: int256 = 0
    amount0, amount1 = extcall Market(market).swap(
        recipient,
        zero_for_one,
        -convert(bought, int256),
        LEAST_PRICE if zero_for_one else MOST_PRICE,
        slice(path, 23, len(path) - 23),
    )
    # At the end of its liquidity a market gives less than it was asked for.
    assert min(amount0, amount1) == -convert(bought, int256), "market too shallow"


@internal
def _tell(deal: uint256, loaned: address, given: address, health: uint256):
    if deal == 0:
        log Deleveraged(
            owner=msg.sender,
            debt=loaned,
            collateral=given,
            repaid=self.used,
            sold=self.paid,
            premium=self.premium,
            health_factor=health,
        )
    elif deal == SUPPLIES:
        log CollateralSwitched(
            owner=msg.sender,
            received=loaned,
            given=given,
            supplied=self.used,
            sold=self.paid,
            premium=self.premium,
            health_factor=health,
        )
    elif deal == BORROWS:
        log DebtSwitched(
            owner=msg.sender,
            old=loaned,
            new=given,
            repaid=self.used,
            borrowed=self.paid,
            premium=self.premium,
            health_factor=health,
        )
    else:
        log Boosted(
            owner=msg.sender,
            debt=given,
            collateral=loaned,
            supplied=self.used,
            borrowed=self.paid,
            premium=self.premium,
            health_factor=health,
        )


@internal
def _permit(asset: address, most: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    """
    @dev A permit that somebody else has already handed in has done its work: what counts is the allowance.
    """
    used: bool = raw_call(
        self._a_token(asset),
        abi_encode(
            msg.sender, self, most, deadline, v, r, s,
            method_id=method_id("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
        ),
        revert_on_failure=False,
    )


@internal
def _delegation(asset: address, most: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    """
    @dev As with a permit: what counts is the credit that stands.
    """
    token: address = (staticcall Pool(POOL).getReserveData(asset)).variable_token
    assert token != empty(address), "not in this market"
    used: bool = raw_call(
        token,
        abi_encode(
            msg.sender, self, most, deadline, v, r, s,
            method_id=method_id("delegationWithSig(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
        ),
        revert_on_failure=False,
    )


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
def _path(loaned: address, given: address, pools: uint256, words: bytes32[3]) -> Bytes[MAX_PATH]:
    assert pools != 0 and pools <= MAX_POOLS, "one to three pools"
    size: uint256 = 20 + 23 * pools
    path: Bytes[MAX_PATH] = slice(concat(words[0], words[1], words[2]), 0, size)
    assert convert(slice(path, 0, 20), address) == loaned, "path starts with another token"
    assert convert(slice(path, size - 20, 20), address) == given, "path ends with another token"
    return path
