"""How the Python node words its blocks, transactions, receipts and reverts: as Ethereum's JSON-RPC does."""

from __future__ import annotations

from typing import Any

from eth._utils.address import generate_contract_address
from eth.constants import CREATE_CONTRACT_ADDRESS
from eth_abi.abi import decode as abi_decode
from eth_abi.exceptions import DecodingError
from eth_typing import Address

_ERROR_SELECTOR = bytes.fromhex("08c379a0")
_PANIC_SELECTOR = bytes.fromhex("4e487b71")


def _hex(value: bytes) -> str:
    return "0x" + value.hex()


def _bloom(value: int) -> str:
    return _hex(value.to_bytes(256, "big"))


def block_json(header: Any, transactions: list[str]) -> dict[str, Any]:
    """A block with its transactions' hashes."""
    return {
        "number": hex(header.block_number),
        "hash": _hex(header.hash),
        "parentHash": _hex(header.parent_hash),
        "sha3Uncles": _hex(header.uncles_hash),
        "miner": _hex(header.coinbase),
        "stateRoot": _hex(header.state_root),
        "transactionsRoot": _hex(header.transaction_root),
        "receiptsRoot": _hex(header.receipt_root),
        "logsBloom": _bloom(header.bloom),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "timestamp": hex(header.timestamp),
        "extraData": _hex(header.extra_data),
        "mixHash": _hex(header.mix_hash),
        "nonce": "0x0000000000000000",
        "baseFeePerGas": hex(header.base_fee_per_gas),
        "withdrawalsRoot": _hex(header.withdrawals_root),
        "withdrawals": [],
        "blobGasUsed": hex(header.blob_gas_used),
        "excessBlobGas": hex(header.excess_blob_gas),
        "parentBeaconBlockRoot": _hex(header.parent_beacon_block_root),
        "requestsHash": _hex(header.requests_hash),
        "uncles": [],
        "size": "0x0",
        "transactions": transactions,
    }


def pending_json(transaction: Any, sender: bytes) -> dict[str, Any]:
    """A transaction in the pool: no block yet."""
    kind = getattr(transaction, "type_id", 0) or 0
    body: dict[str, Any] = {
        "blockHash": None,
        "blockNumber": None,
        "transactionIndex": None,
        "hash": _hex(transaction.hash),
        "from": _hex(sender),
        "to": None if transaction.to == CREATE_CONTRACT_ADDRESS else _hex(transaction.to),
        "nonce": hex(transaction.nonce),
        "value": hex(transaction.value),
        "gas": hex(transaction.gas),
        "input": _hex(transaction.data),
        "type": hex(kind),
        "chainId": None if transaction.chain_id is None else hex(transaction.chain_id),
        "r": hex(transaction.r),
        "s": hex(transaction.s),
        "v": hex(transaction.y_parity if kind else transaction.v),
    }
    if kind >= 2:
        body["maxFeePerGas"] = hex(transaction.max_fee_per_gas)
        body["maxPriorityFeePerGas"] = hex(transaction.max_priority_fee_per_gas)
    if kind:
        body["yParity"] = hex(transaction.y_parity)
        body["accessList"] = [
            {"address": _hex(account), "storageKeys": [_hex(slot.to_bytes(32, "big")) for slot in slots]}
            for account, slots in transaction.access_list
        ]
    body["gasPrice"] = hex(transaction.max_fee_per_gas)
    return body


def transaction_json(header: Any, index: int, transaction: Any, sender: bytes) -> dict[str, Any]:
    """A mined transaction; its gas price is what it paid."""
    tip = min(transaction.max_priority_fee_per_gas, transaction.max_fee_per_gas - header.base_fee_per_gas)
    return {
        **pending_json(transaction, sender),
        "blockHash": _hex(header.hash),
        "blockNumber": hex(header.block_number),
        "transactionIndex": hex(index),
        "gasPrice": hex(header.base_fee_per_gas + tip),
    }


def receipt_json(
    header: Any, transaction: dict[str, Any], receipt: Any, gas_used: int, first_log: int
) -> dict[str, Any]:
    """The receipt of ``transaction`` (as worded by ``transaction_json``)."""
    where = {
        "blockHash": _hex(header.hash),
        "blockNumber": hex(header.block_number),
        "transactionHash": transaction["hash"],
        "transactionIndex": transaction["transactionIndex"],
    }
    created = None
    if transaction["to"] is None:
        sender = Address(bytes.fromhex(transaction["from"][2:]))
        created = _hex(generate_contract_address(sender, int(transaction["nonce"], 16)))
    return {
        **where,
        "from": transaction["from"],
        "to": transaction["to"],
        "contractAddress": created,
        "status": "0x1" if receipt.state_root == b"\x01" else "0x0",
        "type": transaction["type"],
        "gasUsed": hex(gas_used),
        "cumulativeGasUsed": hex(receipt.gas_used),
        "effectiveGasPrice": transaction["gasPrice"],
        "logsBloom": _bloom(receipt.bloom),
        "logs": [
            {
                **where,
                "blockTimestamp": hex(header.timestamp),
                "logIndex": hex(first_log + position),
                "address": _hex(log.address),
                "topics": [_hex(topic.to_bytes(32, "big")) for topic in log.topics],
                "data": _hex(log.data),
                "removed": False,
            }
            for position, log in enumerate(receipt.logs)
        ],
    }


def revert_reason(data: bytes) -> str:
    """The words in a revert's data, empty where there are none."""
    try:
        if data[:4] == _ERROR_SELECTOR:
            return str(abi_decode(["string"], data[4:])[0])
        if data[:4] == _PANIC_SELECTOR:
            return f"panic: 0x{abi_decode(['uint256'], data[4:])[0]:02x}"
    except (DecodingError, UnicodeDecodeError):
        pass
    return ""
