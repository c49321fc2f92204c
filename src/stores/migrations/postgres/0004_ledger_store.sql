-- Of what the ledger's rows are part: one row.
--
-- id:  which store this is. Journals carry it, and are stored nowhere else. It goes where the tables go; a
--      copy that is to be a store of its own needs another.
--
-- forgotten_up_to:  of rows that were deleted for their age, the latest beginning; null: none has been. Written
--      with each deletion, so that nobody adds again what it took. Its lock is held by both.
CREATE TABLE ledger_store (
    only_row        BIGINT PRIMARY KEY CHECK (only_row = 1),
    id              UUID   NOT NULL,
    forgotten_up_to BIGINT
);

INSERT INTO ledger_store (only_row, id) VALUES (1, gen_random_uuid());
