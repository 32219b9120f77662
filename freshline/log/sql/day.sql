CREATE TABLE segment_$day (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL,
    created INTEGER NOT NULL,  -- of its first task
    head BLOB NOT NULL
);

CREATE TABLE paths_$day (
    first INTEGER PRIMARY KEY,  -- position of the first path in it
    chunk BLOB NOT NULL
);

-- How many rows of a key a segment holds, how many the day holds before it, and which they are (share.py).
CREATE TABLE part_$day (
    key INTEGER NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    before INTEGER NOT NULL,
    share BLOB,
    PRIMARY KEY (key, first)
) WITHOUT ROWID;

CREATE TABLE digest_$day (
    id INTEGER PRIMARY KEY,  -- bucket * 2^32 + rows of the day before it
    entries BLOB NOT NULL
);

-- Evidence about [first, last] lies under the width its length fits in, so that what covers a position
-- is found near it: at width w no further than 2^w away.
CREATE TABLE evidence_$day (
    id INTEGER PRIMARY KEY,
    edge INTEGER NOT NULL,
    width INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    sent REAL NOT NULL,
    answered REAL NOT NULL,
    said TEXT NOT NULL
);
CREATE INDEX evidence_at_$day ON evidence_$day (edge, width, first);
