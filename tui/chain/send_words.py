"""What a node's answer to eth_sendRawTransaction means, whichever client it runs.

The words are those of go-ethereum, erigon, nethermind, besu, reth, anvil and the gateways before them.
"""

from __future__ import annotations

import re

_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # The order matters: "underpriced" is said of replacements as well as of fees, "same nonce" of replacements as
    # well as of nonces.
    (
        "already-known",
        (
            r"already ?known",
            r"ALREADY_KNOWN",
            r"known transaction",
            r"already imported",
            r"already exists",
            r"already in (?:the )?(?:tx|mem)?pool",
            r"existing tx with same hash",
            r"duplicate transaction",
        ),
    ),
    (
        "underpriced-replacement",
        (
            r"replace\w* .*underpriced",
            r"REPLACEMENT_UNDERPRICED",
            r"replacement ?(?:transaction )?(?:fee|not ?allowed)",
            r"could not replace existing",
            r"another transaction with same nonce",
            r"gas price too low to replace",
        ),
    ),
    (
        "nonce-too-low",
        (
            r"nonce (?:is )?too low",
            r"NONCE_TOO_LOW",
            r"OldNonce",
            r"nonce .*(?:lower|less) than",
            r"below sender account nonce",
            r"nonce has already been used",
        ),
    ),
    (
        "nonce-too-high",
        (
            r"nonce (?:is )?too (?:high|far|distant)",
            r"NONCE_TOO_(?:HIGH|FAR|DISTANT)",
            r"nonce ?gap",
            r"gapped.nonce",
            r"future nonce",
            r"nonce .*(?:higher|greater) than",
        ),
    ),
    (
        "one-at-a-time",
        (
            r"in-?flight transaction limit",
            r"authority already reserved",
        ),
    ),
    (
        "insufficient-funds",
        (
            r"insufficient ?(?:funds|balance)",
            r"INSUFFICIENT_FUNDS",
            r"upfront.cost.exceeds.(?:account.)?balance",
            r"(?:not|doesn'?t|does not) have enough (?:funds|balance)",
            r"exceeds (?:the )?(?:account |sender )?balance",
        ),
    ),
    (
        "fee-cap-exceeded",
        (
            r"exceeds the configured cap",
            r"fee.?cap exceeded",
            r"exceeds? (?:the )?(?:rpc )?tx ?fee ?cap",
        ),
    ),
    (
        "fee-too-low",
        (
            r"less than (?:the |current |block )*base ?fee",
            r"below (?:the |current |configured )*(?:block )?(?:base ?fee|minimum)",
            r"underpriced",
            r"(?:fee|tip|gas price|per ?gas) (?:is )?too low",
            r"(?:FeeTooLow|FEE_TOO_LOW|GAS_PRICE_TOO_LOW)",
        ),
    ),
)
_PATTERNS = tuple((kind, re.compile("|".join(words), re.IGNORECASE)) for kind, words in _KINDS)


def classify_send_error(message: str) -> str:
    """The kind of `tui.ports.chain.SendOutcome` that a node's words mean; "other-error" for words not known."""
    return next((kind for kind, words in _PATTERNS if words.search(message)), "other-error")
