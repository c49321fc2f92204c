-- Counters of quotas. Times are milliseconds since the epoch.
--
-- buckets: units used, by the beginning of the bucket: {"1700000000000": 12}
-- leases:  what each instance has, by its name
-- ends_at: when nothing in it counts any more; null: never
CREATE TABLE quota_counters (
    counter    TEXT    NOT NULL PRIMARY KEY,
    buckets    TEXT    NOT NULL,
    leases     TEXT    NOT NULL,
    touched_at INTEGER NOT NULL,
    ends_at    INTEGER
) STRICT, WITHOUT ROWID;
