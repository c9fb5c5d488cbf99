"""Trimtab: proactive collateral rebalancing from the trader's own terminal, with the trader's own key.

The package root imports nothing, so that the command line stays light.
"""

__version__ = "0.1.0"
