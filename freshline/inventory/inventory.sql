-- One row: proves the key.
CREATE TABLE seal (proof BLOB NOT NULL);

CREATE TABLE account (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    enabled INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;

CREATE TABLE access_key (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account,
    secret BLOB NOT NULL,
    active INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;

CREATE TABLE domain (
    name TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account,
    grouped TEXT NOT NULL,
    online INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;

CREATE TABLE edge (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    grouped TEXT NOT NULL,
    gate TEXT NOT NULL,
    site TEXT NOT NULL,
    secret BLOB NOT NULL,
    joined INTEGER NOT NULL
) WITHOUT ROWID;
