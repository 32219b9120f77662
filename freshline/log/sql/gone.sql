-- Edges that were removed, for as long as anything they took part in is kept. Also made in logs that were begun without it.
CREATE TABLE IF NOT EXISTS gone (
    id INTEGER PRIMARY KEY,  -- that it had as an edge; in the order in which they came, not went
    name TEXT NOT NULL,
    groups TEXT NOT NULL,    -- whose tasks waited for it, as a JSON list
    joined INTEGER NOT NULL,
    went INTEGER NOT NULL,   -- where the log stood then
    progress BLOB NOT NULL
)
