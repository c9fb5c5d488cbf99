"""Frozen values that every room speaks: exact integers, blocks, positions, plans, intents, views. Stdlib only."""
