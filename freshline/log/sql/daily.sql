-- The statements on the tables of one day. Each begins with a line that names it.

-- name: insert_segment
INSERT INTO segment_$day VALUES (?, ?)

-- name: insert_head
INSERT INTO head_$day VALUES (?, ?)

-- name: insert_chunk
INSERT INTO chunk_$day VALUES (?, ?, ?, ?)

-- name: insert_moment
INSERT OR IGNORE INTO moment_$day VALUES (?, ?)

-- name: insert_part
INSERT INTO part_$day VALUES (?, ?, ?, ?, ?)

-- name: insert_shape
INSERT INTO shape_$day (packed) VALUES (?)

-- name: shape
SELECT packed FROM shape_$day WHERE id = ?

-- name: insert_digests
INSERT INTO digest_$day VALUES (?, ?)

-- name: insert_run
INSERT INTO run_$day (level, split) VALUES (?, ?)

-- name: whole_run
UPDATE run_$day SET level = ? WHERE number = ?

-- name: runs
SELECT number, level FROM run_$day ORDER BY number

-- name: drop_run
DELETE FROM run_$day WHERE number = ?

-- name: drop_digests
DELETE FROM digest_$day WHERE id BETWEEN ? AND ?

-- name: digests_of
-- Some buckets of one run.
SELECT id, entries FROM digest_$day WHERE id BETWEEN ? AND ?

-- name: insert_proof
INSERT INTO proof_$day VALUES (?, ?, ?, ?)

-- name: newest_proof
SELECT max(number) FROM proof_$day

-- name: proof
SELECT pieces FROM proof_$day WHERE number = ?

-- name: drop_proof
DELETE FROM proof_$day WHERE number = ?

-- name: segment_at
SELECT first, last FROM segment_$day WHERE first <= ? ORDER BY first DESC LIMIT 1

-- name: newest_head
SELECT first, last, packed FROM segment_$day JOIN head_$day USING (first) ORDER BY first DESC LIMIT 1

-- name: head
SELECT packed FROM head_$day WHERE first = ?

-- name: segments_after
SELECT first, last, packed FROM segment_$day JOIN head_$day USING (first) WHERE first > ? ORDER BY first LIMIT ?

-- name: chunk_at
SELECT last, count, created, packed FROM chunk_$day WHERE last >= ? ORDER BY last LIMIT 1

-- name: newest_chunks
SELECT last, count, created, packed FROM chunk_$day ORDER BY last DESC LIMIT ?

-- name: dictionary
SELECT packed FROM dictionary_$day

-- name: insert_dictionary
INSERT INTO dictionary_$day VALUES (?)

-- name: since
SELECT first FROM moment_$day WHERE created >= ? ORDER BY created LIMIT 1

-- name: chunks
-- From the one that holds a position to the one that holds another.
SELECT last, count, created, packed FROM chunk_$day
WHERE last BETWEEN ?1 AND (SELECT last FROM chunk_$day WHERE last >= ?2 ORDER BY last LIMIT 1) ORDER BY last

-- name: drop_segments
DELETE FROM segment_$day WHERE first BETWEEN ? AND ?

-- name: drop_heads
DELETE FROM head_$day WHERE first BETWEEN ? AND ?

-- name: drop_chunks
-- Of whole segments.
DELETE FROM chunk_$day WHERE last BETWEEN ? AND ?

-- name: drop_parts
DELETE FROM part_$day WHERE key = ? AND first BETWEEN ? AND ?

-- name: before
SELECT min(before) FROM part_$day WHERE key = ? AND first BETWEEN ? AND ?

-- name: upto
-- How many rows of some keys lie in segments that begin at or before a position.
SELECT coalesce(sum((
    SELECT before + count FROM part_$day WHERE key = asked.value AND first <= ?2 ORDER BY first DESC LIMIT 1
)), 0) FROM json_each(?1) AS asked

-- name: shares
-- Which rows of one segment belong to some keys.
SELECT share FROM part_$day WHERE key IN (SELECT value FROM json_each(?1)) AND first = ?2

-- name: newest
-- The newest segment that begins at or before a position and holds rows of any of some keys.
SELECT max((
    SELECT first FROM part_$day WHERE key = asked.value AND first <= ?2 ORDER BY first DESC LIMIT 1
)) FROM json_each(?1) AS asked

-- name: digests
-- Of every run the part of a bucket where a digest is, whose first byte is ?3.
SELECT entries FROM run_$day AS run
CROSS JOIN digest_$day AS held ON held.id = ((run.number * ?1 + ?2) << ?4) + (?3 >> (8 - run.split))
WHERE run.level >= 0

-- name: proofs
-- Of each class the cells that hold some rows.
WITH RECURSIVE size(class) AS (SELECT 3 UNION ALL SELECT class + 1 FROM size WHERE class < 48)
SELECT pieces
FROM size CROSS JOIN proof_$day AS held
ON held.class = size.class AND held.cell BETWEEN ?1 >> size.class AND ?2 >> size.class
