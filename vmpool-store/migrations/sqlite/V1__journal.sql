-- Columns for what is asked for; the rest of a row is JSON. Times are Unix
-- milliseconds.

CREATE TABLE pools (
    name        TEXT PRIMARY KEY,
    term        INTEGER NOT NULL,
    runner      TEXT,
    url         TEXT,
    lease_until INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE orders (
    id         TEXT PRIMARY KEY,
    pool       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    slots      INTEGER NOT NULL,
    is_over    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    row        TEXT NOT NULL,
    -- The rendered request, sealed.
    sealed     BLOB NOT NULL
) STRICT;
CREATE INDEX orders_of_pool ON orders (pool) WHERE is_over = 0;
CREATE INDEX orders_over ON orders (changed_at) WHERE is_over = 1;

CREATE TABLE machines (
    id         TEXT PRIMARY KEY,
    pool       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    slots      INTEGER NOT NULL,
    is_over    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    row        TEXT NOT NULL
) STRICT;
CREATE INDEX machines_of_pool ON machines (pool) WHERE is_over = 0;

CREATE TABLE stages (
    id         TEXT PRIMARY KEY,
    pool       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    is_over    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    row        TEXT NOT NULL
) STRICT;
CREATE INDEX stages_of_pool ON stages (pool) WHERE is_over = 0;
CREATE INDEX stages_over ON stages (changed_at) WHERE is_over = 1;

CREATE TABLE steps (
    -- Steps are listed in the order in which they were first written.
    place      INTEGER PRIMARY KEY,
    stage      TEXT NOT NULL,
    id         TEXT NOT NULL,
    version    INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    row        TEXT NOT NULL,
    UNIQUE (stage, id)
) STRICT;

CREATE TABLE events (
    -- Never used twice, also after the youngest were compacted away.
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,
    -- A step's is its stage's.
    id      TEXT NOT NULL,
    step    TEXT,
    version INTEGER NOT NULL,
    what    TEXT NOT NULL,
    cause   TEXT NOT NULL
) STRICT;
CREATE INDEX events_of ON events (id, kind);
