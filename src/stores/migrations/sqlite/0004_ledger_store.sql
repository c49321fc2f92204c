-- Of what the ledger's rows are part: one row.
--
-- id:  which store this is. Journals carry it, and are stored nowhere else. It goes where the file goes; a
--      copy that is to be a store of its own needs another.
--
-- forgotten_up_to:  of rows that were deleted for their age, the latest beginning; null: none has been. Written
--      with each deletion, so that nobody adds again what it took.
CREATE TABLE ledger_store (
    only_row        INTEGER PRIMARY KEY CHECK (only_row = 1),
    id              TEXT    NOT NULL,
    forgotten_up_to INTEGER
) STRICT;

-- A random UUID: of its 32 digits, the version's is fixed, and the variant's first two bits.
INSERT INTO ledger_store (only_row, id) VALUES (
    1,
    lower(
        hex(randomblob(4)) || '-' || hex(randomblob(2))
        || '-4' || substr(hex(randomblob(2)), 2)
        || '-' || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2)
        || '-' || hex(randomblob(6))
    )
);
