"""The tables, and the triggers that make a broken invariant impossible to write rather than unlikely.

Wei and wad are decimal texts, since they pass 64 bits; fees a unit of gas and dollars are integers.
"""

from __future__ import annotations

APPLICATION_ID = 0x54726D54
"""Tells our file from any other SQLite file."""

FINAL_STATES = "('FINAL_OK','FINAL_REVERTED','FINAL_CANCELLED','NONCE_LOST','DROPPED')"
"""Intent states that nothing leaves."""

UNSETTLED = f"nonce IS NOT NULL AND state NOT IN {FINAL_STATES}"
"""Intents that own a nonce and may still come to something."""

OPEN_FIRING = "state IN ('TRIGGERED','PLANNED','RUNNING')"
"""Firings of which something may still come."""

_MEANING = "NEW.to_address <> OLD.to_address OR NEW.value <> OLD.value OR NEW.data <> OLD.data"
_OWNER = "NEW.chain_id <> OLD.chain_id OR NEW.account <> OLD.account OR NEW.firing_id <> OLD.firing_id"

_FIRST = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    "CREATE TABLE chains (chain_id INTEGER PRIMARY KEY, genesis_hash TEXT NOT NULL) STRICT",
    """
    CREATE TABLE accounts (
        chain_id INTEGER NOT NULL,
        account TEXT NOT NULL,
        known_nonce INTEGER CHECK (known_nonce >= 0),
        halted TEXT,
        halted_at REAL,
        PRIMARY KEY (chain_id, account)
    ) STRICT
    """,
    """
    CREATE TABLE firings (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        rule TEXT NOT NULL,
        rule_digest TEXT NOT NULL,
        episode TEXT NOT NULL,
        position TEXT NOT NULL,
        account TEXT NOT NULL,
        chain_id INTEGER NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('TRIGGERED','PLANNED','RUNNING','DONE','FAILED','DROPPED','HALTED')),
        block_number INTEGER NOT NULL,
        block_hash TEXT NOT NULL,
        block_timestamp INTEGER NOT NULL,
        health_factor_before TEXT,
        health_factor_expected TEXT,
        health_factor_after TEXT,
        summary TEXT NOT NULL,
        reason TEXT NOT NULL,
        spend_usd INTEGER NOT NULL CHECK (spend_usd >= 0),
        cost_usd INTEGER,
        UNIQUE (rule, episode)
    ) STRICT
    """,
    "CREATE UNIQUE INDEX one_live_plan ON firings (chain_id, account) WHERE state = 'RUNNING'",
    f"CREATE INDEX open_firings ON firings (chain_id) WHERE {OPEN_FIRING}",
    """
    CREATE TABLE intents (
        id TEXT PRIMARY KEY,
        firing_id TEXT NOT NULL REFERENCES firings (id),
        sequence INTEGER NOT NULL CHECK (sequence >= 0),
        chain_id INTEGER NOT NULL,
        account TEXT NOT NULL,
        to_address TEXT NOT NULL,
        data BLOB NOT NULL,
        value TEXT NOT NULL,
        words TEXT NOT NULL,
        gas_limit INTEGER NOT NULL CHECK (gas_limit > 0),
        fee_ceiling INTEGER NOT NULL CHECK (fee_ceiling >= 0),
        state TEXT NOT NULL CHECK (state IN ('PLANNED','RESERVED','SIGNED','MAYBE_SENT','CANCELLING','INCLUDED',
            'FINAL_OK','FINAL_REVERTED','FINAL_CANCELLED','NONCE_LOST','DROPPED')),
        nonce INTEGER CHECK (nonce >= 0),
        included_hash TEXT,
        included_block INTEGER,
        included_block_hash TEXT,
        gas_used INTEGER,
        gas_paid_wei TEXT,
        reason TEXT NOT NULL,
        signing_began INTEGER NOT NULL CHECK (signing_began IN (0, 1)),
        withheld INTEGER NOT NULL CHECK (withheld IN (0, 1)),
        UNIQUE (chain_id, account, nonce),
        UNIQUE (firing_id, sequence),
        CHECK ((nonce IS NULL) = (state IN ('PLANNED','DROPPED'))),
        CHECK ((included_hash IS NULL) = (included_block_hash IS NULL)),
        CHECK (state NOT IN ('INCLUDED','FINAL_OK','FINAL_REVERTED','FINAL_CANCELLED') OR included_hash IS NOT NULL),
        CHECK (state IN ('INCLUDED','FINAL_OK','FINAL_REVERTED','FINAL_CANCELLED') OR included_hash IS NULL)
    ) STRICT
    """,
    f"CREATE INDEX unsettled ON intents (chain_id, account, nonce) WHERE {UNSETTLED}",
    """
    CREATE TABLE attempts (
        intent_id TEXT NOT NULL REFERENCES intents (id),
        number INTEGER NOT NULL CHECK (number >= 0),
        kind TEXT NOT NULL CHECK (kind IN ('original','bump','cancel')),
        hash TEXT NOT NULL UNIQUE,
        raw BLOB NOT NULL CHECK (length(raw) > 0),
        nonce INTEGER NOT NULL,
        to_address TEXT NOT NULL,
        value TEXT NOT NULL,
        data BLOB NOT NULL,
        max_fee INTEGER NOT NULL CHECK (max_fee >= 0),
        priority_fee INTEGER NOT NULL CHECK (priority_fee BETWEEN 0 AND max_fee),
        signed_at REAL NOT NULL,
        sent_at REAL,
        answer TEXT NOT NULL,
        block INTEGER NOT NULL,
        PRIMARY KEY (intent_id, number)
    ) STRICT
    """,
    """
    CREATE TRIGGER attempt_means_its_intent BEFORE INSERT ON attempts
    WHEN NOT EXISTS (
        SELECT 1 FROM intents
        WHERE id = NEW.intent_id AND nonce = NEW.nonce AND NEW.max_fee <= fee_ceiling AND (
            (NEW.kind = 'cancel' AND NEW.to_address = account AND NEW.value = '0' AND length(NEW.data) = 0)
            OR (NEW.kind <> 'cancel' AND withheld = 0 AND NEW.to_address = to_address AND NEW.value = value
                AND NEW.data = data)
        )
    )
    BEGIN SELECT RAISE(ABORT, 'an attempt means its intent, or a no-op, under the same nonce and ceiling'); END
    """,
    """
    CREATE TRIGGER cancelled_stays_cancelled BEFORE INSERT ON attempts
    WHEN NEW.kind <> 'cancel'
        AND EXISTS (SELECT 1 FROM attempts WHERE intent_id = NEW.intent_id AND kind = 'cancel')
    BEGIN SELECT RAISE(ABORT, 'after a no-op only no-ops are signed'); END
    """,
    """
    CREATE TRIGGER attempts_do_not_change BEFORE UPDATE OF intent_id, number, kind, hash, raw, nonce, to_address, value,
        data, max_fee, priority_fee, signed_at, block ON attempts
    BEGIN SELECT RAISE(ABORT, 'signed bytes never change'); END
    """,
    """
    CREATE TRIGGER attempts_are_kept BEFORE DELETE ON attempts
    BEGIN SELECT RAISE(ABORT, 'signed bytes are kept'); END
    """,
    """
    CREATE TRIGGER intents_are_kept BEFORE DELETE ON intents
    BEGIN SELECT RAISE(ABORT, 'intents are kept'); END
    """,
    """
    CREATE TRIGGER firings_are_kept BEFORE DELETE ON firings
    BEGIN SELECT RAISE(ABORT, 'firings are kept'); END
    """,
    """
    CREATE TRIGGER a_nonce_is_bound_once BEFORE UPDATE OF nonce ON intents
    WHEN NEW.nonce IS NOT OLD.nonce AND (
        NEW.nonce IS NOT NULL AND OLD.nonce IS NOT NULL
        OR EXISTS (SELECT 1 FROM attempts WHERE intent_id = OLD.id)
    )
    BEGIN SELECT RAISE(ABORT, 'a nonce is never bound to another meaning'); END
    """,
    f"""
    CREATE TRIGGER signed_meaning_stays BEFORE UPDATE OF to_address, value, data ON intents
    WHEN ({_MEANING}) AND (OLD.signing_began OR EXISTS (SELECT 1 FROM attempts WHERE intent_id = OLD.id))
    BEGIN SELECT RAISE(ABORT, 'what was signed for keeps its meaning'); END
    """,  # noqa: S608
    f"""
    CREATE TRIGGER an_intent_keeps_its_owner BEFORE UPDATE OF chain_id, account, firing_id ON intents WHEN {_OWNER}
    BEGIN SELECT RAISE(ABORT, 'an intent keeps its account, chain and firing'); END
    """,
    f"""
    CREATE TRIGGER final_is_final BEFORE UPDATE OF state ON intents
    WHEN OLD.state IN {FINAL_STATES} AND NEW.state <> OLD.state
    BEGIN SELECT RAISE(ABORT, 'a final intent never changes'); END
    """,
    """
    CREATE TRIGGER signed_has_bytes BEFORE UPDATE OF state ON intents
    WHEN NEW.state NOT IN ('PLANNED','RESERVED','DROPPED')
        AND NOT EXISTS (SELECT 1 FROM attempts WHERE intent_id = OLD.id)
    BEGIN SELECT RAISE(ABORT, 'no state after RESERVED without recorded bytes'); END
    """,
    """
    CREATE TRIGGER signed_is_never_dropped BEFORE UPDATE OF state ON intents
    WHEN NEW.state = 'DROPPED' AND EXISTS (SELECT 1 FROM attempts WHERE intent_id = OLD.id)
    BEGIN SELECT RAISE(ABORT, 'only a final nonce closes what was signed'); END
    """,
    f"""
    CREATE TRIGGER one_plan_at_a_time BEFORE INSERT ON intents
    WHEN EXISTS (
        SELECT 1 FROM intents
        WHERE chain_id = NEW.chain_id AND account = NEW.account AND firing_id <> NEW.firing_id AND {UNSETTLED}
    )
    BEGIN SELECT RAISE(ABORT, 'another plan of this account is under way'); END
    """,  # noqa: S608
    """
    CREATE TRIGGER nothing_for_the_halted BEFORE INSERT ON intents
    WHEN EXISTS (
        SELECT 1 FROM accounts WHERE chain_id = NEW.chain_id AND account = NEW.account AND halted IS NOT NULL
    )
    BEGIN SELECT RAISE(ABORT, 'the account is halted'); END
    """,
    """
    CREATE TABLE budget (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('usd','gas-wei')),
        rule TEXT NOT NULL,
        day TEXT NOT NULL,
        amount TEXT NOT NULL,
        firing_id TEXT NOT NULL REFERENCES firings (id)
    ) STRICT
    """,
    "CREATE INDEX budget_by_day ON budget (kind, day)",
    "CREATE INDEX budget_by_firing ON budget (firing_id)",
    """
    CREATE TABLE decisions (
        number INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        block INTEGER,
        kind TEXT NOT NULL,
        severity TEXT NOT NULL,
        text TEXT NOT NULL,
        rule TEXT,
        position TEXT,
        firing_id TEXT,
        detail TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX decisions_by_time ON decisions (at)",
    """
    CREATE TABLE rule_states (
        rule_digest TEXT NOT NULL,
        position TEXT NOT NULL,
        state TEXT NOT NULL,
        at REAL NOT NULL,
        PRIMARY KEY (rule_digest, position)
    ) STRICT
    """,
    """
    CREATE TABLE health (
        position TEXT NOT NULL,
        minute INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        health_factor TEXT,
        PRIMARY KEY (position, minute)
    ) STRICT, WITHOUT ROWID
    """,
)

_GAS_IN_DOLLARS = (
    "ALTER TABLE budget RENAME TO budget_without_gas",
    """
    CREATE TABLE budget (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('usd','gas-wei','gas-usd')),
        rule TEXT NOT NULL,
        day TEXT NOT NULL,
        amount TEXT NOT NULL,
        firing_id TEXT NOT NULL REFERENCES firings (id),
        intent_id TEXT REFERENCES intents (id),
        CHECK (kind <> 'gas-usd' OR intent_id IS NOT NULL)
    ) STRICT
    """,
    "INSERT INTO budget (number, kind, rule, day, amount, firing_id)"
    " SELECT number, kind, rule, day, amount, firing_id FROM budget_without_gas",
    "DROP TABLE budget_without_gas",
    "CREATE INDEX budget_by_day ON budget (kind, day)",
    "CREATE INDEX budget_by_firing ON budget (firing_id)",
    "CREATE INDEX budget_by_intent ON budget (intent_id)",
)

_OUTCOMES = (
    """
    CREATE TABLE outcomes (
        firing_id TEXT PRIMARY KEY REFERENCES firings (id),
        health_expected TEXT,
        health_simulated TEXT,
        health_actual TEXT,
        gas_expected_usd INTEGER,
        gas_actual_usd INTEGER,
        swap_expected_usd INTEGER,
        sold_asset TEXT,
        sold_expected TEXT,
        sold_actual TEXT
    ) STRICT
    """,
)

_WHAT_WAS_SOLD = (
    "ALTER TABLE outcomes ADD COLUMN sold_token TEXT",
    "ALTER TABLE outcomes ADD COLUMN sold_decimals INTEGER",
    "ALTER TABLE outcomes ADD COLUMN sold_price_usd TEXT",
)

_WHOSE_CODE = (
    "ALTER TABLE intents ADD COLUMN delegate TEXT",
    "ALTER TABLE attempts ADD COLUMN delegate TEXT",
    "DROP TRIGGER attempt_means_its_intent",
    """
    CREATE TRIGGER attempt_means_its_intent BEFORE INSERT ON attempts
    WHEN NOT EXISTS (
        SELECT 1 FROM intents
        WHERE id = NEW.intent_id AND nonce = NEW.nonce AND NEW.max_fee <= fee_ceiling AND (
            (NEW.kind = 'cancel' AND NEW.to_address = account AND NEW.value = '0' AND length(NEW.data) = 0
                AND NEW.delegate IS NULL)
            OR (NEW.kind <> 'cancel' AND withheld = 0 AND NEW.to_address = to_address AND NEW.value = value
                AND NEW.data = data AND NEW.delegate IS delegate)
        )
    )
    BEGIN SELECT RAISE(ABORT, 'an attempt means its intent, or a no-op, under the same nonce and ceiling'); END
    """,
    """
    CREATE TRIGGER whose_code_was_signed_stays BEFORE UPDATE OF delegate ON attempts
    BEGIN SELECT RAISE(ABORT, 'signed bytes never change'); END
    """,
    """
    CREATE TRIGGER whose_code_is_to_run_stays BEFORE UPDATE OF delegate ON intents WHEN NEW.delegate IS NOT OLD.delegate
    BEGIN SELECT RAISE(ABORT, 'what was signed for keeps its meaning'); END
    """,
)
"""The code that a transaction sets the account to run, as a line of `tui.model.pinned`; NULL in all others."""


def _assets_of_outcomes(name: str) -> str:
    """A table of the assets of outcomes: what pays, or what comes in."""
    return f"""
    CREATE TABLE {name} (
        firing_id TEXT NOT NULL REFERENCES outcomes (firing_id),
        place INTEGER NOT NULL,
        symbol TEXT NOT NULL,
        token TEXT NOT NULL,
        decimals INTEGER,
        price_usd TEXT,
        expected TEXT,
        actual TEXT,
        PRIMARY KEY (firing_id, place)
    ) STRICT, WITHOUT ROWID
    """


_EVERY_SALE = (
    _assets_of_outcomes("sold"),
    "INSERT INTO sold SELECT firing_id, 0, sold_asset, coalesce(sold_token, ''), sold_decimals, sold_price_usd,"
    " sold_expected, sold_actual FROM outcomes WHERE sold_asset IS NOT NULL",
    *(
        f"ALTER TABLE outcomes DROP COLUMN {column}"
        for column in ("sold_asset", "sold_expected", "sold_actual", "sold_token", "sold_decimals", "sold_price_usd")
    ),
)

_WHAT_CAME_IN = (
    _assets_of_outcomes("bought"),
    "INSERT INTO bought SELECT DISTINCT intents.firing_id, 0, '', '', NULL, NULL, NULL, NULL FROM intents"
    " JOIN outcomes ON outcomes.firing_id = intents.firing_id WHERE words LIKE 'Swap exactly %'",
)
"""Of own swaps before it nobody noted what came in, so what they cost is not known."""

_WHICH_STEP = (
    "ALTER TABLE intents ADD COLUMN step INTEGER CHECK (step >= 0)",
    "ALTER TABLE intents ADD COLUMN takes TEXT",
    """
    CREATE TRIGGER what_it_is_for_stays BEFORE UPDATE OF step, takes ON intents
    WHEN NEW.step IS NOT OLD.step OR NEW.takes IS NOT OLD.takes
    BEGIN SELECT RAISE(ABORT, 'an intent is for one step of its rule'); END
    """,
)
"""The step of its rule that a transaction is for, what it takes of that step's `max`; NULL where that was not noted."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    _FIRST,
    _GAS_IN_DOLLARS,
    _OUTCOMES,
    _WHAT_WAS_SOLD,
    _WHOSE_CODE,
    _EVERY_SALE,
    _WHAT_CAME_IN,
    _WHICH_STEP,
)
"""One step a version; `user_version` counts those that were taken."""
