# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title 0x's AllowanceHolder: what is let to it may be taken by one operator, for the length of one call
"""

interface Token:
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

let: transient(HashMap[address, HashMap[address, HashMap[address, uint256]]])


@external
@payable
def exec(operator: address, token: address, amount: uint256, target: address, data: Bytes[8192]) -> Bytes[1024]:
    self.let[operator][msg.sender][token] = amount
    told: Bytes[1024] = raw_call(
        target, concat(data, slice(convert(msg.sender, bytes32), 12, 20)), max_outsize=1024
    )
    self.let[operator][msg.sender][token] = 0
    return told


@external
def transferFrom(token: address, owner: address, recipient: address, amount: uint256) -> bool:
    self.let[msg.sender][owner][token] -= amount
    assert extcall Token(token).transferFrom(owner, recipient, amount)
    return True
