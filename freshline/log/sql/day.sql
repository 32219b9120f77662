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

-- Evidence (proofs.py): blobs of pieces that lie in one cell, each under the number of its last piece.
CREATE TABLE proof_$day (
    number INTEGER PRIMARY KEY,
    class INTEGER NOT NULL,
    cell INTEGER NOT NULL,
    pieces BLOB NOT NULL
);
CREATE INDEX proof_at_$day ON proof_$day (class, cell);
