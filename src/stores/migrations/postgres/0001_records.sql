-- Times are milliseconds since the epoch. Lists and maps are JSON. Identifiers are ordered by their
-- bytes, as in SQLite, and not by the customs of a language.

CREATE TABLE organizations (
    id         TEXT    COLLATE "C" PRIMARY KEY,
    alias      TEXT,
    models     JSONB   NOT NULL,
    blocked    BOOLEAN NOT NULL,
    tags       JSONB   NOT NULL,
    metadata   JSONB   NOT NULL,
    limits     JSONB   NOT NULL,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL,
    version    BIGINT  NOT NULL
);

CREATE INDEX organizations_by_age ON organizations (created_at, id);

CREATE TABLE teams (
    id              TEXT    COLLATE "C" PRIMARY KEY,
    alias           TEXT,
    organization_id TEXT    COLLATE "C" REFERENCES organizations (id),
    models          JSONB   NOT NULL,
    blocked         BOOLEAN NOT NULL,
    tags            JSONB   NOT NULL,
    metadata        JSONB   NOT NULL,
    limits          JSONB   NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    version         BIGINT  NOT NULL
);

CREATE INDEX teams_by_age ON teams (created_at, id);
CREATE INDEX teams_by_alias ON teams (alias);
CREATE INDEX teams_by_organization ON teams (organization_id);

-- A member need not be a stored user: tokens name users that nobody has stored.
CREATE TABLE team_members (
    team_id  TEXT   COLLATE "C" NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    user_id  TEXT   COLLATE "C" NOT NULL,
    role     TEXT   NOT NULL,
    PRIMARY KEY (team_id, user_id)
);

CREATE INDEX team_members_by_user ON team_members (user_id);

CREATE TABLE users (
    id              TEXT    COLLATE "C" PRIMARY KEY,
    email           TEXT,
    alias           TEXT,
    role            TEXT    NOT NULL,
    organization_id TEXT    COLLATE "C" REFERENCES organizations (id),
    models          JSONB   NOT NULL,
    blocked         BOOLEAN NOT NULL,
    tags            JSONB   NOT NULL,
    metadata        JSONB   NOT NULL,
    limits          JSONB   NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    version         BIGINT  NOT NULL
);

CREATE INDEX users_by_age ON users (created_at, id);
CREATE INDEX users_by_email ON users (email);
CREATE INDEX users_by_organization ON users (organization_id);

CREATE TABLE keys (
    id              UUID    PRIMARY KEY,
    hash            BYTEA   NOT NULL UNIQUE,
    previous_hash   BYTEA,
    previous_until  BIGINT,
    hint            TEXT    NOT NULL,
    alias           TEXT    UNIQUE,
    user_id         TEXT    COLLATE "C" REFERENCES users (id) ON DELETE CASCADE,
    team_id         TEXT    COLLATE "C" REFERENCES teams (id) ON DELETE CASCADE,
    organization_id TEXT    COLLATE "C" REFERENCES organizations (id),
    models          JSONB   NOT NULL,
    routes          JSONB   NOT NULL,
    expires_at      BIGINT,
    blocked         BOOLEAN NOT NULL,
    tags            JSONB   NOT NULL,
    metadata        JSONB   NOT NULL,
    limits          JSONB   NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    created_by      TEXT    NOT NULL,
    version         BIGINT  NOT NULL
);

CREATE INDEX keys_by_age ON keys (created_at, id);
CREATE INDEX keys_by_previous_hash ON keys (previous_hash);
CREATE INDEX keys_by_user ON keys (user_id);
CREATE INDEX keys_by_team ON keys (team_id);
CREATE INDEX keys_by_organization ON keys (organization_id);

-- What was written, numbered without holes in the order of commits.
CREATE TABLE changes (
    number BIGINT PRIMARY KEY,
    kind   TEXT   NOT NULL,
    id     TEXT   NOT NULL,
    at     BIGINT NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
);

CREATE INDEX changes_by_age ON changes (at);

-- One row: the last number forgotten.
CREATE TABLE feed (
    only_row         BIGINT PRIMARY KEY CHECK (only_row = 1),
    forgotten_number BIGINT NOT NULL
);

INSERT INTO feed VALUES (1, 0);
