CREATE TABLE segment_$day (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL
);

-- What segments say (segment.py), apart from where they lie: that is asked with every count, and is a few pages in all.
CREATE TABLE head_$day (
    first INTEGER PRIMARY KEY,
    packed BLOB NOT NULL
);

-- By the last position: so whoever looks for a position comes to the page where its chunk is, and to no other.
CREATE TABLE chunk_$day (
    last INTEGER PRIMARY KEY,  -- position of the last row in it
    count INTEGER NOT NULL,    -- of rows
    created INTEGER NOT NULL,  -- when the task of the first row was made
    packed BLOB NOT NULL       -- press.py, chunk.py
);

-- What chunks are compressed with: one, or none as long as the day is short. See press.py.
CREATE TABLE dictionary_$day (
    packed BLOB NOT NULL
);

-- Of each second in which tasks were made, the first position.
CREATE TABLE moment_$day (
    created INTEGER PRIMARY KEY,
    first INTEGER NOT NULL
);

-- What tasks have in common. A shape may be there more than once.
CREATE TABLE shape_$day (
    id INTEGER PRIMARY KEY,
    packed BLOB NOT NULL
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

-- Runs of rows whose digests are stored together (digest.py), and these, bucket by bucket. A run below level 0 is being
-- made of others, which count until it is whole.
CREATE TABLE run_$day (
    number INTEGER PRIMARY KEY,
    level INTEGER NOT NULL,
    split INTEGER NOT NULL  -- into so many parts each bucket is, as a power of two
);
CREATE TABLE digest_$day (
    id INTEGER PRIMARY KEY,  -- (number of the run * buckets + bucket) * 16 + part
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
