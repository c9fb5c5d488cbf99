"""Aave V3, every revision since 3.0: one lens read, the contract's own integers, calls to repay and to supply."""
