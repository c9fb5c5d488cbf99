# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title A market gone bad: its code is put in the place of a real one's, and it says and asks what it was made to
"""

interface Swapper:
    def uniswapV3SwapCallback(amount0: int256, amount1: int256, data: Bytes[96]): nonpayable

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable

ASKED: immutable(int256)
TIMES: immutable(uint256)
DATA: immutable(Bytes[96])
GIVEN: immutable(address)


@deploy
def __init__(asked: int256, times: uint256, data: Bytes[96], given: address):
    """
    @param asked What it wants to be paid; zero for nothing
    @param times How often it asks
    @param data What it hands back instead of what it was given, unless that is empty
    @param given The token of which it hands out what was bought from it, if any
    """
    ASKED = asked
    TIMES = times
    DATA = data
    GIVEN = given


@external
def swap(
    recipient: address, zero_for_one: bool, amount: int256, price_limit: uint160, data: Bytes[96]
) -> (int256, int256):
    if GIVEN != empty(address):
        assert extcall Token(GIVEN).transfer(recipient, convert(-amount, uint256), default_return_value=True)
    back: Bytes[96] = data
    if len(DATA) > 0:
        back = DATA
    for index: uint256 in range(TIMES, bound=4):
        extcall Swapper(msg.sender).uniswapV3SwapCallback(ASKED, amount, back)
    return (ASKED, amount)
