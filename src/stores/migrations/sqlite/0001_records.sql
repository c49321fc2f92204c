-- Times are milliseconds since the epoch. Lists and maps are JSON.

CREATE TABLE organizations (
    id         TEXT    NOT NULL PRIMARY KEY,
    alias      TEXT,
    models     TEXT    NOT NULL,
    blocked    INTEGER NOT NULL,
    tags       TEXT    NOT NULL,
    metadata   TEXT    NOT NULL,
    limits     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    version    INTEGER NOT NULL
) STRICT;

CREATE INDEX organizations_by_age ON organizations (created_at, id);

CREATE TABLE teams (
    id              TEXT    NOT NULL PRIMARY KEY,
    alias           TEXT,
    organization_id TEXT    REFERENCES organizations (id),
    models          TEXT    NOT NULL,
    blocked         INTEGER NOT NULL,
    tags            TEXT    NOT NULL,
    metadata        TEXT    NOT NULL,
    limits          TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    version         INTEGER NOT NULL
) STRICT;

CREATE INDEX teams_by_age ON teams (created_at, id);
CREATE INDEX teams_by_alias ON teams (alias);
CREATE INDEX teams_by_organization ON teams (organization_id);

-- A member need not be a stored user: tokens name users that nobody has stored.
CREATE TABLE team_members (
    team_id  TEXT    NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    user_id  TEXT    NOT NULL,
    role     TEXT    NOT NULL,
    PRIMARY KEY (team_id, user_id)
) STRICT;

CREATE INDEX team_members_by_user ON team_members (user_id);

CREATE TABLE users (
    id              TEXT    NOT NULL PRIMARY KEY,
    email           TEXT,
    alias           TEXT,
    role            TEXT    NOT NULL,
    organization_id TEXT    REFERENCES organizations (id),
    models          TEXT    NOT NULL,
    blocked         INTEGER NOT NULL,
    tags            TEXT    NOT NULL,
    metadata        TEXT    NOT NULL,
    limits          TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    version         INTEGER NOT NULL
) STRICT;

CREATE INDEX users_by_age ON users (created_at, id);
CREATE INDEX users_by_email ON users (email);
CREATE INDEX users_by_organization ON users (organization_id);

CREATE TABLE keys (
    id              TEXT    NOT NULL PRIMARY KEY,
    hash            BLOB    NOT NULL UNIQUE,
    previous_hash   BLOB,
    previous_until  INTEGER,
    hint            TEXT    NOT NULL,
    alias           TEXT    UNIQUE,
    user_id         TEXT    REFERENCES users (id) ON DELETE CASCADE,
    team_id         TEXT    REFERENCES teams (id) ON DELETE CASCADE,
    organization_id TEXT    REFERENCES organizations (id),
    models          TEXT    NOT NULL,
    routes          TEXT    NOT NULL,
    expires_at      INTEGER,
    blocked         INTEGER NOT NULL,
    tags            TEXT    NOT NULL,
    metadata        TEXT    NOT NULL,
    limits          TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    created_by      TEXT    NOT NULL,
    version         INTEGER NOT NULL
) STRICT;

CREATE INDEX keys_by_age ON keys (created_at, id);
CREATE INDEX keys_by_previous_hash ON keys (previous_hash);
CREATE INDEX keys_by_user ON keys (user_id);
CREATE INDEX keys_by_team ON keys (team_id);
CREATE INDEX keys_by_organization ON keys (organization_id);

-- What was written, numbered without holes in the order of commits.
CREATE TABLE changes (
    number INTEGER NOT NULL PRIMARY KEY,
    kind   TEXT    NOT NULL,
    id     TEXT    NOT NULL,
    at     INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) STRICT;

CREATE INDEX changes_by_age ON changes (at);

-- One row: the last number forgotten.
CREATE TABLE feed (
    only_row         INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    forgotten_number INTEGER NOT NULL
) STRICT;

INSERT INTO feed VALUES (1, 0);
