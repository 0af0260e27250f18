-- SPDX-License-Identifier: Apache-2.0
-- Ends the sessions with a server that is down, so that clients go on with another one.
-- `on-marked-down shutdown-sessions` would do it at once, but HAProxy 3.0 freezes for ever what is still connecting at
-- that moment ("Fix a possible freeze during a forced shut on a stream", mended later), and what could be sent to
-- another server fails. So: only when each attempt to connect has ended by itself.

local PATIENCE = 2.5 -- seconds: above `timeout connect`
local down = {} -- server: when it was first seen so

local function look(backend, name, server)
  local stats = server:get_stats()
  local key = backend .. "/" .. name
  if not string.find(stats.status, "^DOWN") then
    down[key] = nil
    return
  end
  local now = core.now()
  local seconds = now.sec + now.usec / 1000000
  down[key] = down[key] or seconds
  if stats.scur > 0 and seconds - down[key] >= PATIENCE then
    core.Warning("sessions with " .. key .. " end: it is down, " .. stats.scur .. " left")
    server:shut_sess()
  end
end

core.register_task(function()
  while true do
    core.msleep(500)
    for backend, proxy in pairs(core.backends) do
      for name, server in pairs(proxy.servers) do
        look(backend, name, server)
      end
    end
  end
end)
