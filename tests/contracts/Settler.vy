# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title A Settler of 0x: takes what its one action names of the trader, pays at a rate of its own, holds to what must come out
@notice It can be told to run errands, to pay somebody else, and to look away where too little comes out.
"""

interface Holder:
    def transferFrom(token: address, owner: address, recipient: address, amount: uint256) -> bool: nonpayable

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable

struct Slippage:
    recipient: address
    buyToken: address
    minAmountOut: uint256

struct Errand:
    target: address
    data: Bytes[1024]

numerator: public(uint256)
denominator: public(uint256)
paid_bps: public(uint256)
payee: public(address)
errands: DynArray[Errand, 4]


@external
def deal(bought: address, numerator: uint256, denominator: uint256):
    self.numerator = numerator
    self.denominator = denominator
    self.paid_bps = 10_000
    self.payee = empty(address)


@external
def cheat(paid_bps: uint256, payee: address):
    self.paid_bps = paid_bps
    self.payee = payee


@external
def errand(target: address, data: Bytes[1024]):
    self.errands.append(Errand(target=target, data=data))


@external
@payable
def execute(slippage: Slippage, actions: DynArray[Bytes[512], 4], zid: bytes32) -> bool:
    trader: address = convert(convert(slice(msg.data, len(msg.data) - 20, 20), bytes20), address)
    sold: address = empty(address)
    amount: uint256 = 0
    sold, amount = abi_decode(slice(actions[0], 0, 64), (address, uint256))
    assert extcall Holder(msg.sender).transferFrom(sold, trader, self, amount)
    for one: Errand in self.errands:
        raw_call(one.target, one.data)
    out: uint256 = amount * self.numerator // self.denominator
    assert out >= slippage.minAmountOut, "TooMuchSlippage"
    payee: address = self.payee if self.payee != empty(address) else slippage.recipient
    assert extcall Token(slippage.buyToken).transfer(payee, out * self.paid_bps // 10_000)
    return True
