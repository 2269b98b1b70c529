"""The schema, as steps that are only ever added."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite_utils

_FIRST: Final = (
    """
    CREATE TABLE operators (
        id         TEXT NOT NULL UNIQUE,
        tenant     TEXT NOT NULL,
        team       TEXT NOT NULL,              -- Slack's team or enterprise id
        slack_user TEXT NOT NULL,
        account_id TEXT,                       -- Entra object id; null until bound: may read, not write
        upn        TEXT,                       -- as known when it was bound, to show only
        name       TEXT,                       -- the same
        suspended  INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (tenant, team, slack_user) -- the decision's read starts here
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE roles (
        tenant TEXT NOT NULL,
        name   TEXT NOT NULL,
        title  TEXT NOT NULL,                  -- what it is for, in words
        PRIMARY KEY (tenant, name)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE role_commands (
        tenant  TEXT NOT NULL,
        role    TEXT NOT NULL,
        wild    INTEGER NOT NULL,              -- 1: the pattern ends with *; the decision seeks the others, scans these
        pattern TEXT NOT NULL,                 -- a command such as '/m365 reset-password', or its beginning and *
        PRIMARY KEY (tenant, role, wild, pattern),
        FOREIGN KEY (tenant, role) REFERENCES roles (tenant, name),
        CHECK (wild = (pattern GLOB '*[*]'))
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE scopes (
        id     TEXT PRIMARY KEY,
        tenant TEXT NOT NULL,
        name   TEXT NOT NULL,
        rule   TEXT NOT NULL                   -- JSON: {all|any|not: [...]}, {attribute, in} or {group}
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE grants (
        id         TEXT NOT NULL UNIQUE,
        tenant     TEXT NOT NULL,
        operator   TEXT NOT NULL REFERENCES operators (id),
        role       TEXT NOT NULL,
        scope      TEXT REFERENCES scopes (id),-- null: every target that is not protected
        expires_at TEXT,                       -- null: until revoked
        granted_at TEXT NOT NULL,
        granted_by TEXT,                       -- operator id; null: from the command line
        emergency  INTEGER NOT NULL DEFAULT 0, -- 1: from the command line although tenant admins existed
        reason     TEXT NOT NULL,
        revoked_at TEXT,                       -- a revoked grant stays as history
        revoked_by TEXT,                       -- operator id; null with revoked_at: from the command line
        PRIMARY KEY (operator, id),
        FOREIGN KEY (tenant, role) REFERENCES roles (tenant, name)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX grants_of_role ON grants (tenant, role) WHERE revoked_at IS NULL",
    """
    CREATE TABLE tenant_settings (
        tenant   TEXT NOT NULL,
        version  INTEGER NOT NULL,             -- every change is a new row; the highest one counts
        settings TEXT NOT NULL,                -- JSON
        set_at   TEXT NOT NULL,
        set_by   TEXT,                         -- operator id; null: from the command line
        reason   TEXT NOT NULL,
        PRIMARY KEY (tenant, version)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE sessions (
        tenant         TEXT NOT NULL,
        generation     INTEGER NOT NULL,       -- only grows, across restarts too
        mode           TEXT NOT NULL,
        state          TEXT NOT NULL,
        identity       TEXT,                   -- JSON: kind, id, name, roles; never a token
        opened_at      TEXT,
        idle_until     TEXT,
        absolute_until TEXT,
        opened_for     TEXT,                   -- the request it was opened for
        why            TEXT,                   -- why it is degraded or why it ended, a sentence
        PRIMARY KEY (tenant, generation)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE requests (
        id          TEXT PRIMARY KEY,
        tenant      TEXT NOT NULL,
        version     INTEGER NOT NULL,          -- what compare-and-set compares
        state       TEXT NOT NULL,
        operator_id TEXT,                      -- null: somebody who is no operator asked
        team        TEXT NOT NULL,
        slack_user  TEXT NOT NULL,
        action      TEXT NOT NULL,
        target_id   TEXT,                      -- null until resolved
        created_at  TEXT NOT NULL,
        due_at      TEXT,                      -- when it must be looked at again by itself
        details     TEXT NOT NULL              -- JSON: everything else, plan and steps included
    ) STRICT
    """,
    "CREATE INDEX requests_open ON requests (created_at) WHERE state IN ('received', 'decided', 'ready', 'running')",
    "CREATE INDEX requests_due ON requests (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX requests_on ON requests (target_id, action) WHERE target_id IS NOT NULL",
    "CREATE INDEX requests_of ON requests (team, slack_user, created_at)",
    """
    CREATE TABLE reply_urls (
        request TEXT PRIMARY KEY REFERENCES requests (id),
        tenant  TEXT NOT NULL,
        url     TEXT NOT NULL,                 -- Slack's response_url: whoever has it can speak, so it is erased soon
        uses    INTEGER NOT NULL,              -- how often it may still be used
        kept_at TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX reply_urls_age ON reply_urls (kept_at)",
    """
    CREATE TABLE approvals (
        id         TEXT PRIMARY KEY,
        tenant     TEXT NOT NULL,
        request    TEXT NOT NULL REFERENCES requests (id),
        digest     TEXT NOT NULL,              -- the plan digest that is agreed to, and nothing else
        state      TEXT NOT NULL,
        decided_by TEXT,                       -- operator id
        decided_at TEXT,
        reason     TEXT,
        expires_at TEXT NOT NULL
    ) STRICT
    """,
    # The sealed text is the only truth of a row: what is searched by is read out of it.
    """
    CREATE TABLE audit (
        seq         INTEGER PRIMARY KEY,       -- without gaps
        prev        BLOB NOT NULL,             -- the seal of the row before
        mac         BLOB NOT NULL,             -- HMAC-SHA256 of seq, prev and body; the key is not in this file
        body        TEXT NOT NULL,             -- canonical JSON
        tenant      TEXT AS (json_extract(body, '$.tenant')),
        at          TEXT AS (json_extract(body, '$.at')),
        kind        TEXT AS (json_extract(body, '$.kind')),
        operator_id TEXT AS (json_extract(body, '$.operator')),
        request_id  TEXT AS (json_extract(body, '$.request')),
        attempt_id  TEXT AS (json_extract(body, '$.attempt')),
        target_id   TEXT AS (json_extract(body, '$.target'))
    ) STRICT
    """,
    # Each index costs every append a page. Attempts are looked for by their request; an operator's rows by going back
    # from the newest, where those who are active are soon found.
    "CREATE INDEX audit_request ON audit (request_id) WHERE request_id IS NOT NULL",
    "CREATE INDEX audit_target ON audit (target_id) WHERE target_id IS NOT NULL",
    """
    CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
    """,
    """
    CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
    """,
    # INSERT OR REPLACE would delete a row without asking the trigger above.
    """
    CREATE TRIGGER audit_is_appended BEFORE INSERT ON audit
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM audit)
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
    """,
    """
    CREATE TABLE inbox (
        key         TEXT NOT NULL,             -- Slack's id of the delivery, with the team it came from
        tenant      TEXT NOT NULL,
        kind        TEXT NOT NULL,
        payload     TEXT,                      -- JSON; null once done or too old
        received_at TEXT NOT NULL,
        done_at     TEXT,
        PRIMARY KEY (tenant, key)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX inbox_payloads ON inbox (received_at) WHERE payload IS NOT NULL",
    "CREATE INDEX inbox_age ON inbox (received_at)",
    """
    CREATE TABLE outbox (
        position   INTEGER PRIMARY KEY,        -- the order in which messages were first said
        tenant     TEXT NOT NULL,
        key        TEXT NOT NULL,
        view       TEXT NOT NULL,
        subject    TEXT NOT NULL,              -- the request it is about
        audience   TEXT NOT NULL,
        under      TEXT,                       -- key of the message in whose thread it belongs
        data       TEXT NOT NULL,              -- JSON
        after      TEXT,                       -- when it may first be posted
        wanted     INTEGER NOT NULL,           -- counts how often it was said
        sent       INTEGER NOT NULL DEFAULT 0, -- the count that Slack shows
        channel    TEXT,                       -- where it stands or is to stand
        ts         TEXT,                       -- Slack's id of it there; null until posted
        maybe_sent INTEGER NOT NULL DEFAULT 0, -- 1: a posting whose outcome nobody knows
        why        TEXT,                       -- Slack would not take what was last given up, and this is why
        UNIQUE (tenant, key)
    ) STRICT
    """,
    "CREATE INDEX outbox_unsaid ON outbox (position) WHERE wanted > sent",
)

_APPROVALS: Final = (
    "DROP TABLE approvals",  # no version that used it was ever released
    """
    CREATE TABLE approvals (
        id          TEXT NOT NULL UNIQUE,
        tenant      TEXT NOT NULL,
        request     TEXT NOT NULL REFERENCES requests (id),
        digest      TEXT NOT NULL,             -- the plan digest that is agreed to, and nothing else
        channel     TEXT NOT NULL,             -- where it was asked
        asked_at    TEXT NOT NULL,
        expires_at  TEXT NOT NULL,             -- of the question; of the agreement, if it was given alone
        why         TEXT NOT NULL,             -- what asks for it, a sentence
        state       TEXT NOT NULL,
        decided_by  TEXT,                      -- operator id
        decided_at  TEXT,
        reason      TEXT NOT NULL,
        reminders   INTEGER NOT NULL,          -- how many were sent
        break_glass INTEGER NOT NULL,          -- 1: the requester agreed alone
        reviewed_by TEXT,                      -- operator id of whoever looked at that later
        reviewed_at TEXT,
        review      TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX approvals_of ON approvals (request, asked_at)",
    "CREATE INDEX approvals_under_review ON approvals (request) WHERE break_glass = 1 AND reviewed_by IS NULL",
    "CREATE INDEX requests_awaiting_approval ON requests (created_at) WHERE state = 'awaiting_approval'",
)

_CUTS: Final = (
    "DROP TRIGGER audit_is_not_deleted",
    # Rows go only in the transaction that appends the row which seals what goes (`AuditTrail.cut`).
    """
    CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
    WHEN OLD.seq > coalesce(
        (SELECT json_extract(body, '$.facts.through') FROM audit
         WHERE seq = (SELECT max(seq) FROM audit) AND kind = 'audit.cut'),
        0)
    BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
    """,
)

_GROUP_GRANTS: Final = (
    """
    CREATE TABLE group_grants (
        id         TEXT PRIMARY KEY,
        tenant     TEXT NOT NULL,
        group_id   TEXT NOT NULL,              -- Entra object id, in small letters
        group_name TEXT NOT NULL,              -- as known when it was granted, to show only
        role       TEXT NOT NULL,
        scope      TEXT REFERENCES scopes (id),-- null: every target that is not protected
        expires_at TEXT,                       -- null: until revoked
        granted_at TEXT NOT NULL,
        granted_by TEXT,                       -- operator id; null: from the command line
        reason     TEXT NOT NULL,
        revoked_at TEXT,                       -- what is revoked stays as history
        revoked_by TEXT,                       -- operator id; null with revoked_at: from the command line
        FOREIGN KEY (tenant, role) REFERENCES roles (tenant, name)
    ) STRICT, WITHOUT ROWID
    """,
    # The group grant that this one follows; null: it was granted to the person.
    "ALTER TABLE grants ADD COLUMN via TEXT REFERENCES group_grants (id)",
    "CREATE INDEX grants_via ON grants (via) WHERE via IS NOT NULL AND revoked_at IS NULL",
    """
    CREATE TABLE group_reads (
        group_grant TEXT PRIMARY KEY REFERENCES group_grants (id),
        tenant      TEXT NOT NULL,
        read_at     TEXT NOT NULL              -- when the group's members were last read
    ) STRICT, WITHOUT ROWID
    """,
)

_OWN_SESSIONS: Final = (
    "ALTER TABLE sessions ADD COLUMN owner TEXT",  # operator id; null: the tenant's
)

_GRANT_WARNINGS: Final = (
    """
    CREATE TABLE grant_warnings (
        grant_id TEXT NOT NULL REFERENCES grants (id),
        tenant   TEXT NOT NULL,
        days     INTEGER NOT NULL,             -- how long before its end somebody was told of it
        told_at  TEXT NOT NULL,
        PRIMARY KEY (grant_id, days)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX grants_ending ON grants (expires_at) WHERE revoked_at IS NULL AND expires_at IS NOT NULL",
)

_ALERTS: Final = (
    """
    CREATE TABLE alerts (
        id              TEXT PRIMARY KEY,
        tenant          TEXT NOT NULL,
        kind            TEXT NOT NULL,
        about           TEXT NOT NULL,         -- which incident it is within its kind
        severity        TEXT NOT NULL,
        trouble         TEXT NOT NULL,         -- JSON: what is wrong, as it is said
        opened_at       TEXT NOT NULL,
        places          TEXT NOT NULL,         -- JSON: the channel or the people who are told
        misplaced       TEXT NOT NULL,         -- why that is not the channel for alerts, a sentence
        lines           INTEGER NOT NULL,      -- how many lines its thread has
        last_line       TEXT NOT NULL,         -- what the last of them is about
        repeats         INTEGER NOT NULL,
        repeat_at       TEXT,                  -- null: it is not said again
        acknowledged_by TEXT NOT NULL,         -- a name, to show
        acknowledged_at TEXT,
        closed_at       TEXT,
        how             TEXT NOT NULL,         -- what ended it, a sentence
        asked           TEXT NOT NULL,         -- JSON: what it offers, to the last request for that and whose it was
        page            TEXT NOT NULL,         -- what the webhook has still to be told
        paged           TEXT NOT NULL,         -- what it was last told
        page_tries      INTEGER NOT NULL,      -- each counted before it begins
        page_at         TEXT,                  -- when the next one begins; null: nothing is to be told
        page_problem    TEXT NOT NULL          -- why it could not be told yet, a sentence
    ) STRICT
    """,
    "CREATE UNIQUE INDEX alerts_open ON alerts (tenant, kind, about) WHERE closed_at IS NULL",
    "CREATE INDEX alerts_about ON alerts (tenant, kind, about, closed_at)",
    "CREATE INDEX alerts_to_repeat ON alerts (repeat_at) WHERE repeat_at IS NOT NULL",
    "CREATE INDEX alerts_to_page ON alerts (page_at) WHERE page_at IS NOT NULL",
)

_ROTATIONS: Final = (
    """
    CREATE TABLE rotations (
        id          TEXT NOT NULL UNIQUE,
        tenant      TEXT NOT NULL,
        kind        TEXT NOT NULL,             -- password or certificate
        trigger     TEXT NOT NULL,             -- what began it
        secret      TEXT NOT NULL,             -- its name in Key Vault
        account     TEXT NOT NULL,             -- a user principal name, or an application's client id
        started_at  TEXT NOT NULL,
        by          TEXT,                      -- operator id; null: by itself
        request_id  TEXT,
        state       TEXT NOT NULL,
        point       TEXT NOT NULL,             -- how far it came
        cause       TEXT,                      -- why it stands
        why         TEXT NOT NULL,
        code        INTEGER,                   -- the AADSTS number
        guesses     INTEGER NOT NULL,          -- sign-ins that went wrong or may have, counted before they leave
        tries       INTEGER NOT NULL,
        in_force    TEXT,                      -- the version in Key Vault that signs in
        pending     TEXT,                      -- the new one
        giving_up   INTEGER NOT NULL,
        changed     INTEGER NOT NULL,          -- 1: something else is in force than before
        tried_at    TEXT,
        stood_at    TEXT,
        finished_at TEXT,
        next_try_at TEXT,
        steps       TEXT NOT NULL,             -- JSON: the points of the last try, with their seconds
        incident    TEXT NOT NULL              -- the first rotation of those that took over from each other
    ) STRICT
    """,
    "CREATE INDEX rotations_of ON rotations (tenant, secret, started_at)",
    "CREATE INDEX rotations_of_request ON rotations (request_id) WHERE request_id IS NOT NULL",
    """
    CREATE TABLE rotation_claims (
        tenant TEXT NOT NULL,
        secret TEXT NOT NULL,
        owner  TEXT NOT NULL,                  -- a process; empty: nobody
        fence  INTEGER NOT NULL,               -- one more with each new claim
        until  TEXT NOT NULL,
        PRIMARY KEY (tenant, secret)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE rotation_dues (
        tenant TEXT NOT NULL,
        secret TEXT NOT NULL,
        at     TEXT NOT NULL,
        since  TEXT NOT NULL,                  -- from when it is reckoned
        rule   TEXT NOT NULL,                  -- how; reckoned anew when that changes
        PRIMARY KEY (tenant, secret)
    ) STRICT, WITHOUT ROWID
    """,
)

_WATCHED: Final = (
    """
    CREATE TABLE watched (
        tenant              TEXT PRIMARY KEY,
        identity            TEXT NOT NULL,     -- the id of the service identity
        roles               TEXT,              -- JSON: its directory roles as they should be; null: they were not seen
        password_changed_at TEXT NOT NULL      -- as Graph has it; empty: it was not seen
    ) STRICT, WITHOUT ROWID
    """,
)

_POLICIES: Final = (
    """
    CREATE TABLE policy_parts (
        tenant  TEXT NOT NULL,
        digest  TEXT NOT NULL,                 -- of what kind it is and the body
        body    TEXT NOT NULL,                 -- JSON: a Conditional Access policy or named location as Graph gave it
        PRIMARY KEY (tenant, digest)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE policy_readings (
        tenant      TEXT NOT NULL,
        digest      TEXT NOT NULL,             -- of the content, whatever its order
        parts       TEXT NOT NULL,             -- JSON: [policy or location, digest] of each part, in Graph's order
        first_seen  TEXT NOT NULL,
        last_seen   TEXT NOT NULL,
        PRIMARY KEY (tenant, digest)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE policy_well (
        tenant    TEXT NOT NULL,
        identity  TEXT NOT NULL,               -- the id of a service identity
        digest    TEXT NOT NULL,               -- of what was in force when it last signed in well
        at        TEXT NOT NULL,
        PRIMARY KEY (tenant, identity)
    ) STRICT, WITHOUT ROWID
    """,
)

_CLOSED: Final = (
    # 1: the identity signed in from Latchkey's address only, and is to stay so
    "ALTER TABLE watched ADD COLUMN closed INTEGER NOT NULL DEFAULT 0",
)

STEPS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("0001_first", _FIRST),
    ("0002_approvals", _APPROVALS),
    ("0003_audit_cuts", _CUTS),
    ("0004_group_grants", _GROUP_GRANTS),
    ("0005_own_sessions", _OWN_SESSIONS),
    ("0006_grant_warnings", _GRANT_WARNINGS),
    ("0007_rotations", _ROTATIONS),
    ("0008_alerts", _ALERTS),
    ("0009_watched", _WATCHED),
    ("0010_policies", _POLICIES),
    ("0011_closed", _CLOSED),
)
"""(name, statements) of each step, in order. A released step is never changed."""

SCHEMA_VERSION: Final = len(STEPS)
"""What `PRAGMA user_version` says of a file that has all steps."""


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the file up to date, all steps or none, also while another process tries the same."""
    if connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,):
        return
    import sqlite_utils  # 90 ms, which a start on a current file need not pay

    migrations = sqlite_utils.Migrations("latchkey")
    for name, statements in STEPS:
        migrations(name=name)(_runs(statements))
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(sqlite_utils.Database(connection, execute_plugins=False))
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION:d}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _runs(statements: tuple[str, ...]) -> Callable[[sqlite_utils.Database], None]:
    def step(db: sqlite_utils.Database) -> None:
        for statement in statements:
            db.execute(statement)

    return step


def structure(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """The SQL of everything in the file that holds our rows or acts on them, by type and name."""
    rows = connection.execute(
        r"""
        SELECT type, name, sql FROM sqlite_schema
        WHERE sql IS NOT NULL  -- null: the index that SQLite makes for a key
          AND (type = 'trigger' OR tbl_name NOT IN ('_sqlite_migrations', 'sqlite_stat1', 'sqlite_stat4'))
        """
    )
    return {(kind, name): sql for kind, name, sql in rows}


def intended_structure() -> dict[tuple[str, str], str]:
    """What `structure` says of a file that only our steps have touched."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for _, statements in STEPS:
            for statement in statements:
                connection.execute(statement)
        return structure(connection)
