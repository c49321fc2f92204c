-- One exchange with one counter: what `Counter::exchange` does, step by step.
--
-- KEYS[1]   the counter, a hash:
--             b<beginning of a bucket>  units used
--             l<instance>               its lease, twelve words, see `write_lease`
-- ARGV      instance, seq, kind of window, its two values, limit, left, held, need, want, ttl_ms,
--           on_lost, mark; then bucket and amount of each charge
--
-- A window is told by its kind and two values:
--             always
--             rolling   its length and that of a bucket
--             period    its start and its end
--
-- Answers   { now }: it is another period; or
--           { now, granted, used, leased, in_doubt, hungry, fits_at or nil, previous_seq }
--
-- Numbers are doubles. Amounts are at most 2^52, and no sum here is above 2^53, so all are exact. A
-- mark may be larger: it stays text.

local MOST = 4503599627370496
local NEVER = math.huge
local SHARE = 4
local HUNGER_MS = 2000
local REMEMBERED_MS = 2592000000
local REMEMBERED_AFTER_LEAVING_MS = 86400000
local REMEMBERED_UNCHARGED_MS = 600000

local key = KEYS[1]
local me, kind, on_lost, mark = ARGV[1], ARGV[3], ARGV[12], ARGV[13]
local seq, a, b = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local limit = math.min(tonumber(ARGV[6]), MOST)
local left = math.min(tonumber(ARGV[7]), MOST)
local held = math.min(tonumber(ARGV[8]), left)
local need, want, ttl_ms = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if kind == 'period' and (now < a or now >= b) then
    return { now }
end

-- A number as text. `0 +`, for there is a negative zero.
local function text(number)
    return string.format('%.0f', 0 + number)
end

local function number(word)
    return tonumber(word) or error('what is stored can not be understood')
end

-- When what was used in a bucket stops to count.
local function forgets(bucket)
    if kind == 'rolling' then
        return bucket + b + a
    elseif kind == 'period' then
        return bucket < a and -NEVER or b
    end
    return NEVER
end

-- The same, though the bucket be one of a period to come. That period may be longer than the present
-- one, but not by more than once.
local function counts_until(bucket)
    if kind == 'period' and bucket >= b then
        return bucket + 2 * (b - a)
    end
    return forgets(bucket)
end

-- The bucket of a time that may be in another period than the present one.
local function bucket_at(at)
    if kind == 'rolling' then
        return at - at % b
    elseif kind == 'period' then
        return at >= a and at < b and a or at
    end
    return 0
end

local function read_lease(stored)
    local words = {}
    for word in string.gmatch(stored, '%S+') do
        words[#words + 1] = word
    end
    if #words ~= 12 then
        error('what is stored can not be understood')
    end
    return {
        leased = number(words[1]),
        held = number(words[2]),
        expires_at = number(words[3]),
        left_for_good = words[4] == '1',
        charged = words[5] == '1',
        on_lost = words[6],
        seq = number(words[7]),
        granted = number(words[8]),
        hungry_until = number(words[9]),
        doubt = number(words[10]),
        doubt_bucket = number(words[11]),
        mark = words[12],
    }
end

local function write_lease(lease)
    return table.concat({
        text(lease.leased),
        text(lease.held),
        text(lease.expires_at),
        lease.left_for_good and '1' or '0',
        lease.charged and '1' or '0',
        lease.on_lost,
        text(lease.seq),
        text(lease.granted),
        text(lease.hungry_until),
        text(lease.doubt),
        text(lease.doubt_bucket),
        lease.mark,
    }, ' ')
end

-- When nothing of a lease counts any more, and it need not be remembered.
local function lease_ends_at(lease)
    local until_then = counts_until(bucket_at(lease.expires_at))
    local after = REMEMBERED_MS
    if not lease.charged then
        after = REMEMBERED_UNCHARGED_MS
    elseif lease.left_for_good then
        after = REMEMBERED_AFTER_LEAVING_MS
    end
    local ending = math.min(lease.expires_at + after, until_then)
    ending = math.max(ending, lease.expires_at, lease.hungry_until)
    if lease.leased > 0 and lease.on_lost == 'charge' then
        ending = math.max(ending, until_then)
    end
    if lease.doubt > 0 then
        ending = math.max(ending, counts_until(lease.doubt_bucket))
    end
    return ending
end

local stored, buckets, leases = {}, {}, {}
local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    stored[field] = value
    if string.sub(field, 1, 1) == 'b' then
        buckets[number(string.sub(field, 2))] = number(value)
    else
        leases[string.sub(field, 2)] = read_lease(value)
    end
end

-- Adds to a bucket, and keeps within 0 and 2^52.
local function charge(bucket, amount)
    buckets[bucket] = math.min(math.max((buckets[bucket] or 0) + amount, 0), MOST)
end

-- Leases whose time is over, but that of the one who is there.
for name, lease in pairs(leases) do
    if lease_ends_at(lease) <= now then
        leases[name] = nil
    elseif name ~= me and lease.expires_at <= now then
        if lease.leased > 0 and lease.on_lost == 'charge' then
            lease.doubt = lease.leased
            lease.doubt_bucket = bucket_at(lease.expires_at)
            charge(lease.doubt_bucket, lease.doubt)
        end
        lease.leased, lease.held, lease.granted = 0, 0, 0
    end
end

-- What the instance says: of its use only once, of its lease each time.
local before = leases[me]
    or { seq = 0, granted = 0, hungry_until = 0, doubt = 0, doubt_bucket = 0, charged = false }
local previous = before.seq
local fresh = seq > previous
if seq >= previous then
    local kept = fresh and 0 or before.granted
    if before.doubt > 0 then
        charge(before.doubt_bucket, -before.doubt)
    end
    leases[me] = {
        leased = math.min(left + kept, MOST),
        held = held,
        expires_at = now + ttl_ms,
        left_for_good = ttl_ms == 0,
        charged = before.charged or #ARGV > 13,
        on_lost = on_lost,
        seq = seq,
        granted = kept,
        hungry_until = fresh and 0 or before.hungry_until,
        doubt = 0,
        doubt_bucket = 0,
        mark = mark,
    }
    if fresh then
        for i = 14, #ARGV, 2 do
            charge(tonumber(ARGV[i]), tonumber(ARGV[i + 1]))
        end
    end
end

local used, leased, in_doubt, hungry = 0, 0, 0, false
for bucket, amount in pairs(buckets) do
    if amount > 0 and forgets(bucket) > now then
        used = math.min(used + amount, MOST)
    else
        buckets[bucket] = nil
    end
end
for name, lease in pairs(leases) do
    leased = math.min(leased + lease.leased, MOST)
    if forgets(lease.doubt_bucket) > now then
        in_doubt = math.min(in_doubt + lease.doubt, MOST)
    end
    hungry = hungry or (name ~= me and lease.hungry_until > now)
end

local lease = leases[me]
local rest = math.max(limit - used, 0)
local free = math.max(rest - leased, 0)
local granted, fits_at = 0, NEVER
local missing = (limit - need) - used - leased
if not fresh then
    granted = seq == previous and lease.granted or 0
elseif need <= free then
    granted = need
    if not hungry then
        -- What is leased to one is out of the others' reach.
        granted = need + math.min(math.max(want - need, 0), math.floor((free - need) / SHARE))
    end
    lease.granted = granted
    lease.leased = lease.leased + granted
    leased = leased + granted
elseif need <= math.max(rest - lease.leased, 0) then
    -- It is the others' leases that are in its way.
    lease.hungry_until = now + HUNGER_MS
end

if granted < need and need <= limit then
    if missing >= 0 then
        fits_at = now
    else
        -- What is leased is used at the latest now, or given back.
        fits_at = forgets(bucket_at(now))
        local order = {}
        for bucket in pairs(buckets) do
            order[#order + 1] = bucket
        end
        table.sort(order)
        for _, bucket in ipairs(order) do
            missing = missing + buckets[bucket]
            if missing >= 0 then
                fits_at = forgets(bucket)
                break
            end
        end
    end
end

-- What is new is written before what is gone is taken out, so that the hash never is empty between.
local ends_at = -NEVER
local present = {}
local function write(field, value)
    present[field] = true
    if stored[field] ~= value then
        redis.call('HSET', key, field, value)
    end
end
for bucket, amount in pairs(buckets) do
    ends_at = math.max(ends_at, counts_until(bucket))
    write('b' .. text(bucket), text(amount))
end
for name, other in pairs(leases) do
    ends_at = math.max(ends_at, lease_ends_at(other))
    write('l' .. name, write_lease(other))
end
for field in pairs(stored) do
    if not present[field] then
        redis.call('HDEL', key, field)
    end
end
if ends_at == NEVER then
    redis.call('PERSIST', key)
else
    redis.call('PEXPIREAT', key, text(ends_at))
end

return {
    now, granted, used, leased, in_doubt, hungry and 1 or 0, fits_at ~= NEVER and fits_at, previous,
}
