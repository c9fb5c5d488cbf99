# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title The one function of 1inch's router that is taken, as its source has it: tokens in, an executor, tokens out
"""

interface Token:
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable
    def transfer(to: address, amount: uint256) -> bool: nonpayable

struct Description:
    srcToken: address
    dstToken: address
    srcReceiver: address
    dstReceiver: address
    amount: uint256
    minReturnAmount: uint256
    flags: uint256


@external
@payable
def swap(executor: address, desc: Description, data: Bytes[4096]) -> (uint256, uint256):
    assert desc.minReturnAmount > 0, "ZeroMinReturn"
    assert msg.value == 0, "InvalidMsgValue"
    assert extcall Token(desc.srcToken).transferFrom(msg.sender, desc.srcReceiver, desc.amount)
    told: Bytes[32] = raw_call(
        executor,
        concat(method_id("execute(address)"), convert(msg.sender, bytes32), data, convert(desc.amount, bytes32)),
        max_outsize=32,
    )
    out: uint256 = convert(told, uint256)
    assert out >= desc.minReturnAmount, "ReturnAmountIsNotEnough"
    assert extcall Token(desc.dstToken).transfer(desc.dstReceiver, out)
    return out, desc.amount
