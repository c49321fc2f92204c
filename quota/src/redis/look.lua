-- What a counter holds, and the time. Changes nothing.
--
-- KEYS[1]   the counter
-- Answers   { now, { field, value, .. } }
--
-- Keys expire by the time at which the script began, which is not after the time that it tells. So what
-- is gone counted no more. In its last millisecond, a key is still there, though nothing in it counts.

local fields = {}
if redis.call('PTTL', KEYS[1]) ~= 0 then
    fields = redis.call('HGETALL', KEYS[1])
end
local time = redis.call('TIME')
return { time[1] * 1000 + math.floor(time[2] / 1000), fields }
