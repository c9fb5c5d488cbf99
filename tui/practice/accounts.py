"""The practice chain's identity: chain id, the made-up accounts every node unlocks, and who plays which part."""

from __future__ import annotations

CHAIN_ID = 31337
MNEMONIC = "test test test test test test test test test test test junk"
DEV_ACCOUNTS = (
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
    "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
    "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
    "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
    "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
    "0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f",
    "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720",
)
"""The accounts both nodes unlock, in order of derivation from ``MNEMONIC`` on m/44'/60'/0'/0."""
DEV_BALANCE_ETHER = 10_000_000
BLOCK_GAS_LIMIT = 60_000_000

OWNER = DEV_ACCOUNTS[0]
"""Deploys everything, owns the feeds, mints."""
SUPPLIER = DEV_ACCOUNTS[1]
BORROWER = DEV_ACCOUNTS[2]
LIQUIDATOR = DEV_ACCOUNTS[3]
ARBITRAGEUR = DEV_ACCOUNTS[4]
TWIN = DEV_ACCOUNTS[5]
EMODE_HOLDER = DEV_ACCOUNTS[6]
MULTI_HOLDER = DEV_ACCOUNTS[7]
SPARE_ACCOUNTS = DEV_ACCOUNTS[8:]
"""Free for tests: they start with ether and nothing else."""
