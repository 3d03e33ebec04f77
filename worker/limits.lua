-- Who may call an endpoint now: one atomic decision over the limits of the endpoint and of its agents.
--
-- KEYS[1]  the endpoint's prefix E          ARGV[1]  the operation, one of the functions below
-- KEYS[2]  the hash of cool-downs           ARGV[2]  its arguments, JSON
--
-- E:epoch     there since the slots were read from the ledger; gone after a flush
-- E:line      who waits: run -> place (lane and age); E:spec says with what limits
-- E:slots     who may call: run -> when its lease ends (ms); E:slots:<agent> the same of one agent
-- E:requests  calls by the second they began in; E:requests:<agent>. E:tokens the same of tokens, estimated until settled
-- E:usual     tokens of a usual call here, a moving mean
--
-- Whoever is let in from the line is named with the attempt that it stood there for: what is told late finds another one.
--
-- A run is let in by whoever makes room for it: it then has a slot, for HANDOVER ms, before it asks again.

local E, COOLING = KEYS[1], KEYS[2]
local op, arg = ARGV[1], cjson.decode(ARGV[2])
local time = redis.call('TIME')
local second = tonumber(time[1])
local now = second * 1000 + math.floor(tonumber(time[2]) / 1000)

local HANDOVER = 15000
local LOOKED_AT = 500   -- of the line, at one decision
local KEPT = 86400000   -- ms that the keys of an idle endpoint stay
local FIRST_GUESS = 1000  -- tokens of a call, before any has ended here

local touched = {}

local function key(kind, agent)
  local name = agent and agent ~= '' and (E .. ':' .. kind .. ':' .. agent) or (E .. ':' .. kind)
  touched[name] = true
  return name
end

local function spec_of(run)
  local text = redis.call('HGET', key('spec'), run)
  return text and cjson.decode(text)
end

-- The endpoint's own scope, and the agent's where it has limits.
local function scopes_of(spec)
  return spec.agent ~= '' and {'', spec.agent} or {''}
end

local function forget(run, spec)
  for _, agent in ipairs(spec and scopes_of(spec) or {''}) do redis.call('ZREM', key('slots', agent), run) end
  redis.call('HDEL', key('spec'), run)
end

local function drop_dead()
  for _, run in ipairs(redis.call('ZRANGEBYSCORE', key('slots'), '-inf', now)) do
    forget(run, spec_of(run))
  end
end

-- The sum of the window, and what is in it. The second in which the window begins counts whole.
local function counted(kind, agent)
  local name, total, entries = key(kind, agent), 0, {}
  local all = redis.call('HGETALL', name)
  for i = 1, #all, 2 do
    local at = tonumber(all[i])
    if at < second - arg.window then
      redis.call('HDEL', name, all[i])
    else
      total = total + tonumber(all[i + 1])
      entries[#entries + 1] = {at, tonumber(all[i + 1])}
    end
  end
  return total, entries
end

local function count(kind, agent, at, amount)
  redis.call('HINCRBY', key(kind, agent), at, amount)
end

-- Names what is used up in one scope, or nothing.
local function used_up(agent, caps, guess)
  if caps.concurrency and redis.call('ZCARD', key('slots', agent)) >= caps.concurrency then return 'concurrency' end
  if caps.requests and counted('requests', agent) >= caps.requests then return 'requests' end
  if caps.tokens then
    local spent = counted('tokens', agent)
    if spent > 0 and spent + guess > caps.tokens then return 'tokens' end  -- one call larger than the limit goes alone
  end
end

local function guess_of()
  return tonumber(redis.call('GET', key('usual')) or FIRST_GUESS)
end

local function let_in(run, spec, guess)
  redis.call('ZREM', key('line'), run)
  for _, agent in ipairs(scopes_of(spec)) do
    redis.call('ZADD', key('slots', agent), now + HANDOVER, run)
    count('requests', agent, second, 1)
    count('tokens', agent, second, guess)
  end
  spec.second, spec.guess = second, guess
  redis.call('HSET', key('spec'), run, cjson.encode(spec))
end

local function cool_until()
  return tonumber(redis.call('HGET', COOLING, arg.endpoint) or 0)
end

-- Lets in from the line, in its order, who has room in every scope. An agent that is full holds up its own runs only.
local function let_in_all()
  drop_dead()
  local let, full, why = {}, {}, nil
  if cool_until() > now then return let, full, 'cooling' end
  local guess = guess_of()
  for _, run in ipairs(redis.call('ZRANGE', key('line'), 0, LOOKED_AT - 1)) do
    local spec = spec_of(run)
    if not spec then
      redis.call('ZREM', key('line'), run)
    elseif not full[spec.agent] then
      why = used_up('', arg.caps, guess)
      if why then break end
      local agent_why = spec.agent ~= '' and used_up(spec.agent, spec.caps, guess)
      if agent_why then
        full[spec.agent] = agent_why
      else
        let_in(run, spec, guess)
        let[#let + 1] = run
      end
    end
  end
  return let, full, why
end

-- Names runs that have a slot now. Those lined up by an older version have no attempt.
local function told(runs)
  local named = {}
  for i, run in ipairs(runs) do named[i] = {run = run, attempt = (spec_of(run) or {}).attempt} end
  return named
end

-- Seconds until the one at `place` in the line finds room, as far as the window tells.
local function seconds_until(kind, agent, limit, place, size)
  local total, entries = counted(kind, agent)
  local missing = total + (place + 1) * size - limit
  table.sort(entries, function(a, b) return a[1] < b[1] end)
  for _, entry in ipairs(entries) do
    missing = missing - entry[2]
    if missing <= 0 then return entry[1] + arg.window + 1 - second end
  end
  return (arg.window + 1) * (1 + math.ceil(missing / limit))  -- after so many waves of the whole limit
end

local function move_request(run, spec, to)
  if spec.second == to then return end
  for _, agent in ipairs(scopes_of(spec)) do
    for kind, amount in pairs({requests = 1, tokens = spec.guess}) do
      if spec.second >= second - arg.window then count(kind, agent, spec.second, -amount) end
      count(kind, agent, to, amount)
    end
  end
  spec.second = to
  redis.call('HSET', key('spec'), run, cjson.encode(spec))
end

local function hold(run, spec)
  for _, agent in ipairs(scopes_of(spec)) do redis.call('ZADD', key('slots', agent), now + arg.lease, run) end
  move_request(run, spec, second)
end

local operations = {}

function operations.ask()
  if cool_until() > now then
    return {answer = 'wait', why = 'cooling', seconds = (cool_until() - now) / 1000, place = 0, woken = {}}
  end
  if redis.call('EXISTS', key('epoch')) == 0 then return {answer = 'seed'} end
  drop_dead()
  if redis.call('ZSCORE', key('slots'), arg.run) then
    hold(arg.run, spec_of(arg.run))
    return {answer = 'go', woken = {}}
  end
  redis.call('ZADD', key('line'), arg.place, arg.run)
  redis.call('HSET', key('spec'), arg.run, cjson.encode({agent = arg.agent, caps = arg.agent_caps, attempt = arg.attempt}))
  local let, full, why = let_in_all()
  local woken, mine = {}, false
  if not why and not full[arg.agent] and redis.call('ZRANK', key('line'), arg.run) then
    -- It stands behind more runs of full agents than are looked at.
    full[arg.agent] = arg.agent ~= '' and used_up(arg.agent, arg.agent_caps, guess_of()) or nil
    if not full[arg.agent] then
      let_in(arg.run, spec_of(arg.run), guess_of())
      let[#let + 1] = arg.run
    end
  end
  for _, run in ipairs(let) do
    if run == arg.run then mine = true else woken[#woken + 1] = run end
  end
  if mine then
    hold(arg.run, spec_of(arg.run))
    return {answer = 'go', woken = told(woken)}
  end
  local place = redis.call('ZRANK', key('line'), arg.run)
  local agent, caps = '', arg.caps
  if full[arg.agent] then why, agent, caps = full[arg.agent], arg.agent, arg.agent_caps end
  local seconds = 0
  if why == 'requests' then seconds = seconds_until('requests', agent, caps.requests, place, 1) end
  if why == 'tokens' then seconds = seconds_until('tokens', agent, caps.tokens, place, guess_of()) end
  return {answer = 'wait', why = why or 'line', seconds = seconds, place = place, woken = told(woken)}
end

function operations.release()
  local spec = spec_of(arg.run)
  redis.call('ZREM', key('line'), arg.run)
  if spec then
    if arg.tokens then
      local usual = guess_of()
      redis.call('SET', key('usual'), math.max(1, math.floor(usual + (arg.tokens - usual) / 5)))
    end
    if spec.second and spec.second >= second - arg.window then
      local more = arg.unsent and -spec.guess or (arg.tokens and arg.tokens - spec.guess or 0)
      for _, agent in ipairs(scopes_of(spec)) do
        count('tokens', agent, spec.second, more)
        if arg.unsent then count('requests', agent, spec.second, -1) end
      end
    end
    forget(arg.run, spec)
  end
  return {woken = told((let_in_all()))}
end

-- Lengthens the leases of calls that go on. `sent`: its call goes out only now. One whose lease ran out, since nobody
-- could renew it here, holds a slot again; it is not let in anew, so limits may be exceeded until it ends. After a
-- flush that is left to `seed`, which counts requests too.
function operations.renew()
  if redis.call('EXISTS', key('epoch')) == 0 then return {} end
  for _, known in ipairs(arg.runs) do
    local run, spec = known.run, spec_of(known.run)
    if not spec or not redis.call('ZSCORE', key('slots'), run) then
      spec = {agent = known.agent, caps = known.agent_caps}
      redis.call('ZREM', key('line'), run)
      redis.call('HSET', key('spec'), run, cjson.encode(spec))
    end
    for _, agent in ipairs(scopes_of(spec)) do redis.call('ZADD', key('slots', agent), now + arg.lease, run) end
    if arg.sent and spec.second then move_request(run, spec, second) end
  end
  return {}
end

-- After a flush: what the ledger knows of the calls that go on. Nobody is let in before.
function operations.seed()
  for _, known in ipairs(arg.runs) do
    if not redis.call('ZSCORE', key('slots'), known.run) then
      local at, guess = second - known.age, guess_of()
      for _, agent in ipairs(scopes_of(known)) do
        redis.call('ZADD', key('slots', agent), now + arg.lease, known.run)
        if at >= second - arg.window then
          count('requests', agent, at, 1)
          count('tokens', agent, at, guess)
        end
      end
      local spec = {agent = known.agent, caps = known.agent_caps, second = at, guess = guess}
      redis.call('HSET', key('spec'), known.run, cjson.encode(spec))
    end
  end
  redis.call('SET', key('epoch'), now)
  return {}
end

function operations.holds()
  return {holds = redis.call('ZSCORE', key('slots'), arg.run) and true or false}
end

function operations.cool()
  redis.call('HSET', COOLING, arg.endpoint, math.floor(math.max(cool_until(), now + arg.seconds * 1000)))
  return {}
end

function operations.cooling()
  local left, all = {}, redis.call('HGETALL', COOLING)
  for i = 1, #all, 2 do
    if tonumber(all[i + 1]) > now then
      left[all[i]] = (tonumber(all[i + 1]) - now) / 1000
    else
      redis.call('HDEL', COOLING, all[i])
    end
  end
  return left
end

local answer = operations[op]()
for name in pairs(touched) do redis.call('PEXPIRE', name, KEPT) end
return cjson.encode(answer)
