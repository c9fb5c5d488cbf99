# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title Who swaps for 1inch's router: at a rate of its own, out of its own purse, with errands on the way
@notice It says what an honest one would have paid, whatever it paid, and to whom.
"""

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable

struct Errand:
    target: address
    data: Bytes[1024]

bought: public(address)
numerator: public(uint256)
denominator: public(uint256)
paid_bps: public(uint256)
payee: public(address)
errands: DynArray[Errand, 4]


@external
def deal(bought: address, numerator: uint256, denominator: uint256):
    """
    @notice Pay so many units of `bought` for so many of what comes in, all of it, to the router.
    """
    self.bought = bought
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
def execute(who: address) -> uint256:
    amount: uint256 = convert(slice(msg.data, len(msg.data) - 32, 32), uint256)
    for one: Errand in self.errands:
        raw_call(one.target, one.data)
    out: uint256 = amount * self.numerator // self.denominator
    payee: address = self.payee if self.payee != empty(address) else msg.sender
    assert extcall Token(self.bought).transfer(payee, out * self.paid_bps // 10_000)
    return out
