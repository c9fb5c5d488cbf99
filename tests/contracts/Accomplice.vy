# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title What a bad token calls in the middle of a transfer: everything that it was told to try
"""

struct Attempt:
    target: address
    data: Bytes[1024]

plans: DynArray[Attempt, 16]
busy: bool
tried: public(uint256)
won: public(uint256)
last: public(DynArray[uint256, 64])


@external
def plan(target: address, data: Bytes[1024]):
    self.plans.append(Attempt(target=target, data=data))


@external
def strike():
    if self.busy:
        return
    self.busy = True
    for index: uint256 in range(len(self.plans), bound=16):
        ok: bool = raw_call(self.plans[index].target, self.plans[index].data, revert_on_failure=False)
        self.tried += 1
        if ok:
            self.won += 1
    self.busy = False


@external
def executeOperation(asset: address, amount: uint256, premium: uint256, initiator: address, params: Bytes[64]) -> bool:
    return True


@external
@payable
def __default__():
    pass


@external
def pay(to: address, amount: uint256):
    """
    @notice Pay with no more gas than Solidity's `transfer` gives.
    """
    send(to, amount)
