-- Sends a copy of a request's body to MIRROR, where scripts/rollout.py compares the answers of both versions. The client
-- does not wait for that; without a rollout nothing listens there, and the copy is lost. Bodies that are longer than
-- HAProxy's buffer are not mirrored.
local address = os.getenv("MIRROR") or "127.0.0.1:3009"

core.register_action("mirror", { "http-req" }, function(txn)
  local body = txn.sf:req_body()
  local headers = txn.http:req_get_headers()
  local length = headers["content-length"]
  if not length or tonumber(length[0]) ~= #body or #body == 0 then
    return
  end
  -- Without a content-length HAProxy would send the body in chunks.
  local copied = { ["content-length"] = { tostring(#body) } }
  for _, name in ipairs({ "content-type", "authorization", "content-encoding" }) do
    if headers[name] then
      copied[name] = { headers[name][0] }
    end
  end
  core.register_task(function()
    local client = core.httpclient()
    client:post({ url = "http://" .. address .. "/classify", headers = copied, body = body, timeout = 2000 })
  end)
end)
