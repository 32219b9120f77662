-- Bytes that an edge has stored of a prefetch: one sum for the whole task. Also made in logs that were begun without it.
CREATE TABLE IF NOT EXISTS warmed (
    task INTEGER NOT NULL,
    edge INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (task, edge)
) WITHOUT ROWID
