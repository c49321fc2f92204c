-- One row for each attempt that reached a provider. Times are milliseconds since the epoch, money is
-- nano-USD. A cost of NULL: there was no price.
CREATE TABLE ledger (
    request_id         TEXT    NOT NULL,
    attempt            INTEGER NOT NULL,
    begun_at           INTEGER NOT NULL,
    ended_at           INTEGER NOT NULL,
    instance           TEXT    NOT NULL,
    caller             TEXT    NOT NULL,
    key_id             TEXT,
    user_id            TEXT,
    team_id            TEXT,
    organization_id    TEXT,
    end_user           TEXT,
    tags               TEXT    NOT NULL,
    endpoint           TEXT    NOT NULL,
    model              TEXT    NOT NULL,
    provider           TEXT    NOT NULL,
    provider_model     TEXT    NOT NULL,
    stream             INTEGER NOT NULL,
    status             INTEGER,
    outcome            TEXT    NOT NULL,
    input              INTEGER NOT NULL,
    cache_read         INTEGER NOT NULL,
    cache_write_5m     INTEGER NOT NULL,
    cache_write_1h     INTEGER NOT NULL,
    output             INTEGER NOT NULL,
    reasoning          INTEGER NOT NULL,
    audio_input        INTEGER NOT NULL,
    audio_output       INTEGER NOT NULL,
    estimated          INTEGER NOT NULL,
    cost               INTEGER,
    price_version      TEXT,
    held_tokens        INTEGER NOT NULL,
    held_cost          INTEGER NOT NULL,
    latency_ms         INTEGER NOT NULL,
    first_token_ms     INTEGER,
    PRIMARY KEY (request_id, attempt)
) WITHOUT ROWID, STRICT;

CREATE INDEX ledger_by_age ON ledger (begun_at, request_id, attempt);
CREATE INDEX ledger_by_key ON ledger (key_id, begun_at);

-- Totals of the rows, kept with them and beyond them. What a row does not have is the empty text here.
-- Days are counted since the epoch, in UTC.
CREATE TABLE ledger_daily (
    day             INTEGER NOT NULL,
    key_id          TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    team_id         TEXT    NOT NULL,
    organization_id TEXT    NOT NULL,
    end_user        TEXT    NOT NULL,
    model           TEXT    NOT NULL,
    provider        TEXT    NOT NULL,
    attempts        INTEGER NOT NULL,
    input           INTEGER NOT NULL,
    cached          INTEGER NOT NULL,
    output          INTEGER NOT NULL,
    cost            INTEGER NOT NULL,
    estimated       INTEGER NOT NULL,
    PRIMARY KEY (day, key_id, user_id, team_id, organization_id, end_user, model, provider)
) WITHOUT ROWID, STRICT;

CREATE INDEX ledger_daily_by_key ON ledger_daily (key_id, day);
CREATE INDEX ledger_daily_by_user ON ledger_daily (user_id, day);
CREATE INDEX ledger_daily_by_team ON ledger_daily (team_id, day);
