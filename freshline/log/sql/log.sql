CREATE TABLE meta (
    id TEXT NOT NULL,
    head INTEGER NOT NULL,
    created INTEGER NOT NULL,
    dropped TEXT  -- the mark of the last position that was dropped
);

-- One row per UTC day that has tasks. Its tables bear the day's number (day.sql).
CREATE TABLE day (
    day INTEGER PRIMARY KEY,
    first INTEGER NOT NULL,
    digested INTEGER NOT NULL,  -- up to this position the paths are in digest_<day>
    merged INTEGER NOT NULL     -- up to this position small segments have been merged
);

-- What rows are counted by. Domain '*' stands for any.
CREATE TABLE key (
    id INTEGER PRIMARY KEY,
    account TEXT NOT NULL,
    domain TEXT NOT NULL,
    kind TEXT NOT NULL,
    UNIQUE (account, domain, kind)
);

CREATE TABLE quota (
    account TEXT NOT NULL,
    day INTEGER NOT NULL,
    bucket TEXT NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (account, day, bucket)
) WITHOUT ROWID;

-- An id is never used again, so evidence of a forgotten edge is evidence of nobody.
CREATE TABLE edge (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    progress BLOB NOT NULL
);
