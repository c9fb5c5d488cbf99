"""What changed between Aave V3 revisions, as switches that the arithmetic reads; nothing else asks for a version.

A revision not listed gets the newest rules: the comparison with the contract's own answer then decides whether a
position may be trusted. Sources: docs/3.2 to docs/3.7 and the libraries of aave-v3-origin.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """The arithmetic of one revision.

    `emptied_collateral_off`: what is all repaid with its own aTokens stops being collateral (3.1).
    `liquid_e_modes`: membership by bitmaps of the category, not by a number in the reserve (3.2).
    `close_factor_of_total`: half of the whole debt, and all of small positions (3.3).
    `exponential_interest`: the other series for debt (3.4).
    `directed_rounding`: collateral down, debt up, and no flooring of the average threshold (3.5); since then a
    repayment with aTokens must also leave the account healthy.
    `own_e_mode_terms`: a category's threshold and LTV hold whatever the reserve's own are (3.6).
    `isolation_mode`: reserves with a debt ceiling are isolated (until 3.6).
    """

    version: str
    emptied_collateral_off: bool
    liquid_e_modes: bool
    close_factor_of_total: bool
    exponential_interest: bool
    directed_rounding: bool
    own_e_mode_terms: bool
    isolation_mode: bool


V3_0 = Rules("3.0", False, False, False, False, False, False, True)
V3_1 = Rules("3.1", True, False, False, False, False, False, True)
V3_2 = Rules("3.2", True, True, False, False, False, False, True)
V3_3 = Rules("3.3", True, True, True, False, False, False, True)
V3_4 = Rules("3.4", True, True, True, True, False, False, True)
V3_5 = Rules("3.5", True, True, True, True, True, False, True)
V3_6 = Rules("3.6", True, True, True, True, True, True, True)
V3_7 = Rules("3.7", True, True, True, True, True, True, False)

NEWEST = V3_7
_BY_REVISION = {1: V3_0, 2: V3_0, 3: V3_0, 4: V3_1, 5: V3_2, 6: V3_3, 7: V3_4, 8: V3_4, 9: V3_5, 10: V3_6, 11: V3_7}


def rules_of(revision: int) -> Rules:
    """The rules of a POOL_REVISION; the newest ones for a revision that is not known."""
    return _BY_REVISION.get(revision, NEWEST)


def version_text(revision: int) -> str:
    """The version for display: `3.2 (revision 5)`, `unknown (revision 42)`."""
    rules = _BY_REVISION.get(revision)
    return f"{rules.version if rules else 'unknown'} (revision {revision})"
