-- Of what the ledger's rows are part: one row.
--
-- id:  which store this is. Journals carry it, and are stored nowhere else. It goes where the tables go; a
--      copy that is to be a store of its own needs another.
CREATE TABLE ledger_store (
    only_row BIGINT PRIMARY KEY CHECK (only_row = 1),
    id       UUID   NOT NULL
);

INSERT INTO ledger_store VALUES (1, gen_random_uuid());
