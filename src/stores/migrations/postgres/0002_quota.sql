-- Counters of quotas. Times are milliseconds since the epoch.
--
-- buckets: units used, by the beginning of the bucket: {"1700000000000": 12}
-- leases:  what each instance has, by its name
-- ends_at: when nothing in it counts any more; null: never
--
-- Rows are short and often replaced: room is left on each page for the next version of a row, and there
-- is no second index, which would have to be written each time.
CREATE TABLE quota_counters (
    counter    TEXT   COLLATE "C" PRIMARY KEY,
    buckets    JSONB  NOT NULL,
    leases     JSONB  NOT NULL,
    touched_at BIGINT NOT NULL,
    ends_at    BIGINT
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);

-- Of a window, the present part is told by three values: its kind, and
--   always
--   rolling  its length and that of a bucket
--   period   its start and its end

-- When what was used in a bucket stops to count; null: never.
CREATE FUNCTION quota_forgets(kind TEXT, a BIGINT, b BIGINT, bucket BIGINT) RETURNS BIGINT
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind
        WHEN 'rolling' THEN bucket + b + a
        WHEN 'period' THEN CASE WHEN bucket < a THEN -9007199254740992 ELSE b END
    END
$$;

-- The same, though the bucket be one of a period to come. That period may be longer than the present
-- one, but not by more than once.
CREATE FUNCTION quota_counts_until(kind TEXT, a BIGINT, b BIGINT, bucket BIGINT) RETURNS BIGINT
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN kind = 'period' AND bucket >= b THEN bucket + 2 * (b - a)
        ELSE quota_forgets(kind, a, b, bucket)
    END
$$;

-- The bucket of a time that may be in another period than the present one.
CREATE FUNCTION quota_bucket_at(kind TEXT, a BIGINT, b BIGINT, at BIGINT) RETURNS BIGINT
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN kind = 'rolling' THEN at - ((at % b) + b) % b
        WHEN kind = 'period' AND at >= a AND at < b THEN a
        WHEN kind = 'period' THEN at
        ELSE 0
    END
$$;

-- Adds to a bucket, and keeps within 0 and 2^52.
CREATE FUNCTION quota_charge(buckets JSONB, bucket BIGINT, amount BIGINT) RETURNS JSONB
LANGUAGE sql IMMUTABLE AS $$
    SELECT buckets || jsonb_build_object(
        bucket::text,
        least(greatest(coalesce((buckets ->> bucket::text)::bigint, 0) + amount, 0), 4503599627370496)
    )
$$;

-- When nothing of a lease counts any more, and it need not be remembered; null: never.
CREATE FUNCTION quota_lease_ends_at(lease JSONB, kind TEXT, a BIGINT, b BIGINT) RETURNS BIGINT
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    expires_at BIGINT := (lease ->> 'expires_at')::bigint;
    until      BIGINT := quota_counts_until(kind, a, b, quota_bucket_at(kind, a, b, expires_at));
    ending     BIGINT;
BEGIN
    ending := greatest(
        least(
            expires_at + CASE
                WHEN NOT (lease ->> 'charged')::boolean THEN 600000
                WHEN (lease ->> 'left_for_good')::boolean THEN 86400000
                ELSE 2592000000
            END,
            until
        ),
        expires_at,
        (lease ->> 'hungry_until')::bigint
    );
    IF (lease ->> 'leased')::bigint > 0 AND lease ->> 'on_lost' = 'charge' THEN
        IF until IS NULL THEN
            RETURN NULL;
        END IF;
        ending := greatest(ending, until);
    END IF;
    IF (lease ->> 'doubt')::bigint > 0 THEN
        until := quota_counts_until(kind, a, b, (lease ->> 'doubt_bucket')::bigint);
        IF until IS NULL THEN
            RETURN NULL;
        END IF;
        ending := greatest(ending, until);
    END IF;
    RETURN ending;
END
$$;

-- Does a batch of exchanges, and gives an answer for each in their order. All in one statement, so that
-- the counters are locked for as long as it takes, and not for a client's way to the server and back.
CREATE FUNCTION quota_exchange(batch JSONB) RETURNS JSONB
LANGUAGE plpgsql VOLATILE
SET search_path = sluicegate, pg_temp
SET lock_timeout = '2s'
AS $$
<<work>>
DECLARE
    most     CONSTANT BIGINT := 4503599627370496;
    names    TEXT[];
    locked   BIGINT;
    now      BIGINT;
    replies  JSONB := '[]';
    it       JSONB;
    kind     TEXT;
    a        BIGINT;
    b        BIGINT;
    buckets  JSONB;
    leases   JSONB;
    me       TEXT;
    name     TEXT;
    lease    JSONB;
    lost     BIGINT;
    bucket   BIGINT;
    amount   BIGINT;
    seq      BIGINT;
    previous BIGINT;
    fresh    BOOLEAN;
    kept     BIGINT;
    used     BIGINT;
    leased   BIGINT;
    in_doubt BIGINT;
    hungry   BOOLEAN;
    maximum  BIGINT;
    need     BIGINT;
    want     BIGINT;
    free     BIGINT;
    granted  BIGINT;
    missing  BIGINT;
    fits_at  BIGINT;
    ends_at  BIGINT;
BEGIN
    SELECT array_agg(DISTINCT element ->> 'counter') INTO names
    FROM jsonb_array_elements(batch) AS element;

    -- In one order for all, so that no two wait for each other. A row that was there may have been
    -- forgotten before it could be locked.
    LOOP
        INSERT INTO quota_counters
        SELECT counter, '{}', '{}', 0, 0 FROM unnest(names) AS counter ORDER BY counter COLLATE "C"
        ON CONFLICT (counter) DO NOTHING;
        PERFORM 1 FROM quota_counters WHERE counter = ANY (names) ORDER BY counter FOR UPDATE;
        GET DIAGNOSTICS locked = ROW_COUNT;
        EXIT WHEN locked = coalesce(cardinality(names), 0);
    END LOOP;

    now := floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint;

    FOR it IN SELECT value FROM jsonb_array_elements(batch) WITH ORDINALITY ORDER BY ordinality LOOP
        kind := it #>> '{span,0}';
        a := (it #>> '{span,1}')::bigint;
        b := (it #>> '{span,2}')::bigint;
        IF kind = 'period' AND (now < a OR now >= b) THEN
            replies := replies || jsonb_build_object('now', now, 'other_period', true);
            CONTINUE;
        END IF;
        me := it ->> 'instance';
        SELECT c.buckets, c.leases INTO STRICT buckets, leases
        FROM quota_counters c WHERE c.counter = it ->> 'counter';

        -- Leases whose time is over, but that of the one who is there.
        FOR name, lease IN SELECT * FROM jsonb_each(leases) LOOP
            IF quota_lease_ends_at(lease, kind, a, b) <= now THEN
                leases := leases - name;
            ELSIF name <> me AND (lease ->> 'expires_at')::bigint <= now THEN
                lost := (lease ->> 'leased')::bigint;
                IF lost > 0 AND lease ->> 'on_lost' = 'charge' THEN
                    bucket := quota_bucket_at(kind, a, b, (lease ->> 'expires_at')::bigint);
                    buckets := quota_charge(buckets, bucket, lost);
                    lease := lease || jsonb_build_object('doubt', lost, 'doubt_bucket', bucket);
                END IF;
                lease := lease || '{"leased": 0, "held": 0, "granted": 0}';
                leases := leases || jsonb_build_object(name, lease);
            END IF;
        END LOOP;

        -- What the instance says: of its use only once, of its lease each time.
        lease := leases -> me;
        seq := (it ->> 'seq')::bigint;
        previous := coalesce((lease ->> 'seq')::bigint, 0);
        fresh := seq > previous;
        IF seq >= previous THEN
            IF (lease ->> 'doubt')::bigint > 0 THEN
                bucket := (lease ->> 'doubt_bucket')::bigint;
                buckets := quota_charge(buckets, bucket, -(lease ->> 'doubt')::bigint);
            END IF;
            kept := CASE WHEN fresh THEN 0 ELSE (lease ->> 'granted')::bigint END;
            lease := jsonb_build_object(
                'leased', least((it ->> 'left')::bigint + kept, most),
                'held', least((it ->> 'held')::bigint, (it ->> 'left')::bigint),
                'expires_at', now + (it ->> 'ttl_ms')::bigint,
                'left_for_good', (it ->> 'ttl_ms')::bigint = 0,
                'charged', coalesce((lease ->> 'charged')::boolean, false)
                    OR jsonb_array_length(it -> 'charges') > 0,
                'on_lost', it -> 'on_lost',
                'seq', seq,
                'granted', kept,
                'hungry_until', CASE WHEN fresh THEN 0 ELSE (lease ->> 'hungry_until')::bigint END,
                'doubt', 0,
                'doubt_bucket', 0,
                'mark', it -> 'mark'
            );
            IF fresh THEN
                FOR bucket, amount IN
                    SELECT (charge ->> 0)::bigint, (charge ->> 1)::bigint
                    FROM jsonb_array_elements(it -> 'charges') WITH ORDINALITY AS charges (charge, place)
                    ORDER BY place
                LOOP
                    buckets := quota_charge(buckets, bucket, amount);
                END LOOP;
            END IF;
            leases := leases || jsonb_build_object(me, lease);
        END IF;

        SELECT coalesce(jsonb_object_agg(key, value), '{}'), least(coalesce(sum(value::bigint), 0), most)
        INTO buckets, used
        FROM jsonb_each(buckets)
        WHERE value::bigint > 0 AND coalesce(quota_forgets(kind, a, b, key::bigint) > now, true);
        SELECT least(coalesce(sum((value ->> 'leased')::bigint), 0), most),
            least(coalesce(sum((value ->> 'doubt')::bigint) FILTER (
                WHERE coalesce(quota_forgets(kind, a, b, (value ->> 'doubt_bucket')::bigint) > now, true)
            ), 0), most),
            bool_or(key <> me AND (value ->> 'hungry_until')::bigint > now)
        INTO leased, in_doubt, hungry
        FROM jsonb_each(leases);

        maximum := least((it ->> 'limit')::bigint, most);
        need := (it ->> 'need')::bigint;
        want := (it ->> 'want')::bigint;
        free := greatest(maximum - used - leased, 0);
        missing := greatest(used + leased + need - maximum, 0);
        granted := 0;
        fits_at := NULL;
        IF NOT fresh THEN
            granted := CASE WHEN seq = previous THEN (lease ->> 'granted')::bigint ELSE 0 END;
        ELSIF need <= free THEN
            -- Of the rest, at most a quarter: what one has is out of the others' reach.
            granted := need
                + CASE WHEN hungry THEN 0 ELSE least(greatest(want - need, 0), (free - need) / 4) END;
            lease := lease
                || jsonb_build_object('granted', granted, 'leased', (lease ->> 'leased')::bigint + granted);
            leases := leases || jsonb_build_object(me, lease);
            leased := leased + granted;
        ELSIF need <= greatest(maximum - used - (lease ->> 'leased')::bigint, 0) THEN
            -- It is the others' leases that are in its way.
            leases := leases
                || jsonb_build_object(me, lease || jsonb_build_object('hungry_until', now + 2000));
        END IF;
        IF granted < need AND missing = 0 THEN
            fits_at := now;
        ELSIF granted < need AND need <= maximum THEN
            -- What is leased is used at the latest now, or given back.
            SELECT coalesce(min(quota_forgets(kind, a, b, key::bigint)),
                quota_forgets(kind, a, b, quota_bucket_at(kind, a, b, now)))
            INTO fits_at
            FROM (
                SELECT key, sum(value::bigint) OVER (ORDER BY key::bigint) AS sum FROM jsonb_each(buckets)
            ) AS so_far
            WHERE sum >= missing;
        END IF;

        SELECT CASE WHEN bool_and(ending IS NOT NULL) THEN max(ending) END INTO ends_at
        FROM (
            SELECT quota_counts_until(kind, a, b, key::bigint) AS ending FROM jsonb_each(buckets)
            UNION ALL
            SELECT quota_lease_ends_at(value, kind, a, b) FROM jsonb_each(leases)
        ) AS endings;
        UPDATE quota_counters c
        SET buckets = work.buckets, leases = work.leases, touched_at = work.now, ends_at = work.ends_at
        WHERE c.counter = it ->> 'counter';

        replies := replies || jsonb_build_object(
            'now', now, 'granted', granted, 'used', used, 'leased', leased, 'in_doubt', in_doubt,
            'hungry', hungry, 'fits_at', fits_at, 'previous_seq', previous
        );
    END LOOP;
    RETURN replies;
END
$$;
