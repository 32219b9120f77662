-- From which position on the rows of a domain are of which group. Also made in logs that were begun without it.
CREATE TABLE IF NOT EXISTS placed (
    account TEXT NOT NULL,
    domain TEXT NOT NULL,
    first INTEGER NOT NULL,
    grouped TEXT NOT NULL,
    PRIMARY KEY (account, domain, first)
) WITHOUT ROWID
