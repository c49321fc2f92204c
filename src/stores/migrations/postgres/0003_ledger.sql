-- One row for each attempt that reached a provider. Times are milliseconds since the epoch, money is
-- nano-USD. A cost of NULL: there was no price.
CREATE TABLE ledger (
    request_id         UUID    NOT NULL,
    attempt            BIGINT  NOT NULL,
    begun_at           BIGINT  NOT NULL,
    ended_at           BIGINT  NOT NULL,
    instance           TEXT    NOT NULL,
    caller             TEXT    NOT NULL,
    key_id             UUID,
    user_id            TEXT    COLLATE "C",
    team_id            TEXT    COLLATE "C",
    organization_id    TEXT    COLLATE "C",
    end_user           TEXT    COLLATE "C",
    tags               JSONB   NOT NULL,
    endpoint           TEXT    NOT NULL,
    model              TEXT    COLLATE "C" NOT NULL,
    provider           TEXT    COLLATE "C" NOT NULL,
    provider_model     TEXT    NOT NULL,
    stream             BOOLEAN NOT NULL,
    status             BIGINT,
    outcome            TEXT    NOT NULL,
    input              BIGINT  NOT NULL,
    cache_read         BIGINT  NOT NULL,
    cache_write_5m     BIGINT  NOT NULL,
    cache_write_1h     BIGINT  NOT NULL,
    output             BIGINT  NOT NULL,
    reasoning          BIGINT  NOT NULL,
    audio_input        BIGINT  NOT NULL,
    audio_output       BIGINT  NOT NULL,
    estimated          BOOLEAN NOT NULL,
    cost               BIGINT,
    price_version      TEXT,
    held_tokens        BIGINT  NOT NULL,
    held_cost          BIGINT  NOT NULL,
    latency_ms         BIGINT  NOT NULL,
    first_token_ms     BIGINT,
    PRIMARY KEY (request_id, attempt)
);

CREATE INDEX ledger_by_age ON ledger (begun_at, request_id, attempt);
CREATE INDEX ledger_by_key ON ledger (key_id, begun_at);

-- Totals of the rows, kept with them and beyond them. What a row does not have is the empty text here.
-- Days are counted since the epoch, in UTC.
CREATE TABLE ledger_daily (
    day             BIGINT NOT NULL,
    key_id          TEXT   COLLATE "C" NOT NULL,
    user_id         TEXT   COLLATE "C" NOT NULL,
    team_id         TEXT   COLLATE "C" NOT NULL,
    organization_id TEXT   COLLATE "C" NOT NULL,
    end_user        TEXT   COLLATE "C" NOT NULL,
    model           TEXT   COLLATE "C" NOT NULL,
    provider        TEXT   COLLATE "C" NOT NULL,
    attempts        BIGINT NOT NULL,
    input           BIGINT NOT NULL,
    cached          BIGINT NOT NULL,
    output          BIGINT NOT NULL,
    cost            BIGINT NOT NULL,
    estimated       BIGINT NOT NULL,
    PRIMARY KEY (day, key_id, user_id, team_id, organization_id, end_user, model, provider)
);

CREATE INDEX ledger_daily_by_key ON ledger_daily (key_id, day);
CREATE INDEX ledger_daily_by_user ON ledger_daily (user_id, day);
CREATE INDEX ledger_daily_by_team ON ledger_daily (team_id, day);
