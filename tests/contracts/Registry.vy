# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title 0x's registry of Settlers: the one in use, and the one before it; it refuses while the service is stopped
"""

current: address
previous: address


@external
def turn(current: address, previous: address):
    self.current = current
    self.previous = previous


@external
@view
def ownerOf(feature: uint256) -> address:
    assert self.current != empty(address), "stopped"
    return self.current


@external
@view
def prev(feature: uint128) -> address:
    return self.previous
