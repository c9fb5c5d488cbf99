"""Why an action cannot be done, known to pure rooms below the protocols as well."""

from __future__ import annotations


class ActionImpossible(Exception):
    """An action cannot be done in this market now (frozen, capped, not listed ...); the text says why."""
