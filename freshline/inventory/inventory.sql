-- One row: proves the key.
CREATE TABLE seal (proof BLOB NOT NULL);

CREATE TABLE account (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    enabled INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;

-- What an account did not open, or lost. No row: it is open.
CREATE TABLE service (
    account TEXT NOT NULL REFERENCES account,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;

-- Names differ by more than case, since policies do not look at case.
CREATE TABLE user (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account,
    name TEXT NOT NULL COLLATE NOCASE,
    UNIQUE (account, name)
) WITHOUT ROWID;

CREATE TABLE access_key (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account,
    secret BLOB NOT NULL,
    active INTEGER NOT NULL DEFAULT 1,
    user TEXT REFERENCES user
) WITHOUT ROWID;

-- trusted: a JSON list of resource names.
CREATE TABLE role (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account,
    name TEXT NOT NULL COLLATE NOCASE,
    trusted TEXT NOT NULL,
    longest_seconds INTEGER NOT NULL,
    UNIQUE (account, name)
) WITHOUT ROWID;

CREATE TABLE policy (
    account TEXT NOT NULL REFERENCES account,
    name TEXT NOT NULL COLLATE NOCASE,
    document TEXT NOT NULL,
    PRIMARY KEY (account, name)
) WITHOUT ROWID;

-- principal: a user's id or a role's. policy: also one of the system's, which has no row.
CREATE TABLE attached (
    account TEXT NOT NULL REFERENCES account,
    policy TEXT NOT NULL COLLATE NOCASE,
    principal TEXT NOT NULL,
    PRIMARY KEY (account, policy, principal)
) WITHOUT ROWID;

CREATE TABLE domain (
    name TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account,
    grouped TEXT NOT NULL,
    online INTEGER NOT NULL DEFAULT 1,
    id INTEGER NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    type TEXT NOT NULL,
    scope TEXT NOT NULL,
    sources TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE media (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL REFERENCES account
) WITHOUT ROWID;

-- made: their order, the latest last. slices: a JSON list of URLs.
CREATE TABLE play (
    media TEXT NOT NULL REFERENCES media,
    made INTEGER NOT NULL,
    url TEXT NOT NULL,
    format TEXT NOT NULL,
    definition TEXT NOT NULL,
    stream_type TEXT NOT NULL,
    slices TEXT NOT NULL,
    PRIMARY KEY (media, made),
    UNIQUE (media, url)
) WITHOUT ROWID;

CREATE TABLE edge (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    grouped TEXT NOT NULL,
    gate TEXT NOT NULL,
    site TEXT NOT NULL,
    secret BLOB NOT NULL,
    joined INTEGER NOT NULL,
    parents TEXT NOT NULL,  -- a JSON list of names
    area TEXT NOT NULL,
    duty TEXT NOT NULL
) WITHOUT ROWID;
