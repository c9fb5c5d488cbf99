# pragma version ==0.4.3
# pragma evm-version paris
# pragma optimize gas
# @license MIT
"""
@title One read of an Aave V3 market and of everything that some accounts hold in it
@notice Never deployed: its code is placed at an address for the length of one eth_call. Every sub-call may fail
        without failing the rest: it then leaves a bit in the flags word of its record, and a zero that means nothing.
        The answer is a flat run of 32-byte words:

        header   13  format, timestamp, block number, pool, oracle, revision, base unit, base currency, swept,
                     reserves, accounts, categories, header flags
        reserve  20  flags, asset, configuration, liquidity index, liquidity rate, borrow index, borrow rate,
                     updated at | id << 64, aToken, stable debt token, variable debt token, accrued to treasury,
                     price, price source, price updated at, scaled aToken supply, scaled variable debt supply,
                     decimals, symbol bytes, symbol length
        account  11  flags, account, configuration, e-mode, the six words of getUserAccountData, holdings,
                     then for each holding 4 words: reserve position | flags << 128, scaled aToken balance,
                     scaled variable debt, stable debt
        category 13  flags, id, LTV, threshold, bonus, price source, price of the source, collateral bitmap,
                     borrowable bitmap, LTV-zero bitmap, isolated, label bytes, label length
"""

FORMAT: constant(uint256) = 1
MAX_ACCOUNTS: constant(uint256) = 200
MAX_RESERVES: constant(uint256) = 128
MAX_WORDS: constant(uint256) = 20_000
CALL_GAS: constant(uint256) = 3_000_000
ADDRESS_MASK: constant(uint256) = 2**160 - 1


@external
@view
def read(
    provider: address, accounts: DynArray[address, MAX_ACCOUNTS], sweep_pairs: uint256
) -> DynArray[uint256, MAX_WORDS]:
    """
    @param provider The market's PoolAddressesProvider
    @param accounts Whose positions to read
    @param sweep_pairs Balances outside an account's bitmap are looked for when accounts x reserves is at most this
    """
    ok: bool = False
    word: Bytes[32] = b""
    text: Bytes[96] = b""
    round_data: Bytes[160] = b""
    user_data: Bytes[192] = b""
    category: Bytes[256] = b""
    reserve: Bytes[480] = b""
    listing: Bytes[4160] = b""
    flags: uint256 = 0

    ok, word = raw_call(
        provider, method_id("getPool()"),
        max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
    )
    assert ok and len(word) == 32, "no pool at the addresses provider"
    pool: address = convert(convert(word, uint256) & ADDRESS_MASK, address)
    ok, word = raw_call(
        provider, method_id("getPriceOracle()"),
        max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
    )
    assert ok and len(word) == 32, "no oracle at the addresses provider"
    oracle: address = convert(convert(word, uint256) & ADDRESS_MASK, address)
    ok, listing = raw_call(
        pool, method_id("getReservesList()"),
        max_outsize=4160, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
    )
    assert ok and len(listing) >= 64, "no list of reserves"
    count: uint256 = convert(extract32(listing, 32), uint256)
    assert count <= MAX_RESERVES and len(listing) == 64 + 32 * count, "the list of reserves cannot be read"
    sweep: bool = len(accounts) * count <= sweep_pairs

    revision: uint256 = 0
    ok, word = raw_call(
        pool, method_id("POOL_REVISION()"),
        max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
    )
    if ok and len(word) == 32:
        revision = convert(word, uint256)
    else:
        flags |= 1
    base_unit: uint256 = 0
    ok, word = raw_call(
        oracle, method_id("BASE_CURRENCY_UNIT()"),
        max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
    )
    if ok and len(word) == 32:
        base_unit = convert(word, uint256)
    else:
        flags |= 2
    base_currency: uint256 = 0
    ok, word = raw_call(
        oracle, method_id("BASE_CURRENCY()"),
        max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
    )
    if ok and len(word) == 32:
        base_currency = convert(word, uint256)
    else:
        flags |= 4

    ids: uint256[MAX_RESERVES] = empty(uint256[MAX_RESERVES])
    supplied: address[MAX_RESERVES] = empty(address[MAX_RESERVES])
    stable: address[MAX_RESERVES] = empty(address[MAX_RESERVES])
    variable: address[MAX_RESERVES] = empty(address[MAX_RESERVES])

    out: DynArray[uint256, MAX_WORDS] = []
    out.append(FORMAT)
    out.append(block.timestamp)
    out.append(block.number)
    out.append(convert(pool, uint256))
    out.append(convert(oracle, uint256))
    out.append(revision)
    out.append(base_unit)
    out.append(base_currency)
    out.append(convert(sweep, uint256))
    out.append(count)
    out.append(len(accounts))
    out.append(0)  # categories, filled in at the end
    out.append(flags)

    for i: uint256 in range(count, bound=MAX_RESERVES):
        asset: address = convert(convert(extract32(listing, 64 + 32 * i), uint256) & ADDRESS_MASK, address)
        start: uint256 = len(out)
        flags = 0
        out.append(0)
        out.append(convert(asset, uint256))

        ok, reserve = raw_call(
            pool, abi_encode(asset, method_id=method_id("getReserveData(address)")),
            max_outsize=480, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(reserve) == 480:
            ids[i] = convert(extract32(reserve, 224), uint256)
            supplied[i] = convert(convert(extract32(reserve, 256), uint256) & ADDRESS_MASK, address)
            stable[i] = convert(convert(extract32(reserve, 288), uint256) & ADDRESS_MASK, address)
            variable[i] = convert(convert(extract32(reserve, 320), uint256) & ADDRESS_MASK, address)
            out.append(convert(extract32(reserve, 0), uint256))
            out.append(convert(extract32(reserve, 32), uint256))
            out.append(convert(extract32(reserve, 64), uint256))
            out.append(convert(extract32(reserve, 96), uint256))
            out.append(convert(extract32(reserve, 128), uint256))
            out.append((convert(extract32(reserve, 192), uint256) & (2**64 - 1)) | (ids[i] << 64))
            out.append(convert(supplied[i], uint256))
            out.append(convert(stable[i], uint256))
            out.append(convert(variable[i], uint256))
            out.append(convert(extract32(reserve, 384), uint256))
        else:
            flags |= 1
            ids[i] = max_value(uint256)
            for _: uint256 in range(10):
                out.append(0)

        ok, word = raw_call(
            oracle, abi_encode(asset, method_id=method_id("getAssetPrice(address)")),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            out.append(convert(word, uint256))
        else:
            flags |= 2
            out.append(0)

        source: address = empty(address)
        ok, word = raw_call(
            oracle, abi_encode(asset, method_id=method_id("getSourceOfAsset(address)")),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            source = convert(convert(word, uint256) & ADDRESS_MASK, address)
        else:
            flags |= 4
        out.append(convert(source, uint256))

        ok, round_data = raw_call(
            source, method_id("latestRoundData()"),
            max_outsize=160, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(round_data) == 160:
            out.append(convert(extract32(round_data, 96), uint256))
        else:
            ok, word = raw_call(
                source, method_id("latestTimestamp()"),
                max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
            )
            if ok and len(word) == 32:
                out.append(convert(word, uint256))
            else:
                flags |= 8
                out.append(0)

        ok, word = raw_call(
            supplied[i], method_id("scaledTotalSupply()"),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            out.append(convert(word, uint256))
        else:
            flags |= 16
            out.append(0)
        ok, word = raw_call(
            variable[i], method_id("scaledTotalSupply()"),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            out.append(convert(word, uint256))
        else:
            flags |= 32
            out.append(0)
        ok, word = raw_call(
            asset, method_id("decimals()"),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            out.append(convert(word, uint256))
        else:
            flags |= 64
            out.append(0)
        ok, text = raw_call(
            asset, method_id("symbol()"),
            max_outsize=96, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(text) == 96:
            out.append(convert(extract32(text, 64), uint256))
            out.append(convert(extract32(text, 32), uint256))
        elif ok and len(text) == 32:
            out.append(convert(extract32(text, 0), uint256))
            out.append(32)
        else:
            flags |= 128
            out.append(0)
            out.append(0)
        out[start] = flags

    categories: uint256 = 0
    for account: address in accounts:
        start: uint256 = len(out)
        flags = 0
        out.append(0)
        out.append(convert(account, uint256))
        configuration: uint256 = 0
        ok, word = raw_call(
            pool, abi_encode(account, method_id=method_id("getUserConfiguration(address)")),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            configuration = convert(word, uint256)
        else:
            flags |= 1
        out.append(configuration)
        ok, word = raw_call(
            pool, abi_encode(account, method_id=method_id("getUserEMode(address)")),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            mode: uint256 = convert(word, uint256)
            out.append(mode)
            if mode != 0 and mode < 256:
                categories |= 1 << mode
        else:
            flags |= 2
            out.append(0)
        ok, user_data = raw_call(
            pool, abi_encode(account, method_id=method_id("getUserAccountData(address)")),
            max_outsize=192, gas=2 * CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(user_data) == 192:
            for i: uint256 in range(6):
                out.append(convert(extract32(user_data, 32 * i), uint256))
        else:
            flags |= 4
            for _: uint256 in range(6):
                out.append(0)
        holdings: uint256 = 0
        out.append(0)
        for i: uint256 in range(count, bound=MAX_RESERVES):
            used: uint256 = 0
            if ids[i] < 128:
                used = (configuration >> (2 * ids[i])) & 3
            if used == 0 and not sweep:
                continue
            faults: uint256 = 0
            balance: uint256 = 0
            owed: uint256 = 0
            owed_stable: uint256 = 0
            ok, word = raw_call(
                supplied[i], abi_encode(account, method_id=method_id("scaledBalanceOf(address)")),
                max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
            )
            if ok and len(word) == 32:
                balance = convert(word, uint256)
            else:
                faults |= 1
            if used & 1 != 0:
                ok, word = raw_call(
                    variable[i], abi_encode(account, method_id=method_id("scaledBalanceOf(address)")),
                    max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
                )
                if ok and len(word) == 32:
                    owed = convert(word, uint256)
                else:
                    faults |= 2
                if stable[i] != empty(address):
                    ok, word = raw_call(
                        stable[i], abi_encode(account, method_id=method_id("balanceOf(address)")),
                        max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
                    )
                    if ok and len(word) == 32:
                        owed_stable = convert(word, uint256)
                    else:
                        faults |= 4
            if used != 0 or balance != 0 or faults != 0:
                holdings += 1
                out.append(i | (faults << 128))
                out.append(balance)
                out.append(owed)
                out.append(owed_stable)
        out[start] = flags
        out[start + 10] = holdings

    for mode: uint256 in range(1, 256):
        if (categories >> mode) & 1 == 0:
            continue
        out[11] += 1
        flags = 0
        start: uint256 = len(out)
        out.append(0)
        out.append(mode)
        ok, category = raw_call(
            pool, abi_encode(mode, method_id=method_id("getEModeCategoryData(uint8)")),
            max_outsize=256, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        price_source: uint256 = 0
        label: uint256 = 0
        label_length: uint256 = 0
        if ok and len(category) >= 192:
            out.append(convert(extract32(category, 32), uint256))
            out.append(convert(extract32(category, 64), uint256))
            out.append(convert(extract32(category, 96), uint256))
            price_source = convert(extract32(category, 128), uint256) & ADDRESS_MASK
            if len(category) == 256:
                label_length = convert(extract32(category, 192), uint256)
                label = convert(extract32(category, 224), uint256)
        else:
            flags |= 1
            for _: uint256 in range(3):
                out.append(0)
        out.append(price_source)
        price: uint256 = 0
        if price_source != 0:
            ok, word = raw_call(
                oracle, abi_encode(price_source, method_id=method_id("getAssetPrice(address)")),
                max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
            )
            if ok and len(word) == 32:
                price = convert(word, uint256)
            else:
                flags |= 2
        out.append(price)
        ok, word = raw_call(
            pool, abi_encode(mode, method_id=method_id("getEModeCategoryCollateralBitmap(uint8)")),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            out.append(convert(word, uint256))
        else:
            flags |= 4
            out.append(0)
        ok, word = raw_call(
            pool, abi_encode(mode, method_id=method_id("getEModeCategoryBorrowableBitmap(uint8)")),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            out.append(convert(word, uint256))
        else:
            flags |= 8
            out.append(0)
        ok, word = raw_call(
            pool, abi_encode(mode, method_id=method_id("getEModeCategoryLtvzeroBitmap(uint8)")),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            out.append(convert(word, uint256))
        else:
            flags |= 16
            out.append(0)
        ok, word = raw_call(
            pool, abi_encode(mode, method_id=method_id("getIsEModeCategoryIsolated(uint8)")),
            max_outsize=32, gas=CALL_GAS, is_static_call=True, revert_on_failure=False,
        )
        if ok and len(word) == 32:
            out.append(convert(word, uint256))
        else:
            flags |= 32
            out.append(0)
        out.append(label)
        out.append(label_length)
        out[start] = flags
    return out
