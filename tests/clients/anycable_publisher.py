# SPDX-License-Identifier: Apache-2.0
"""AnyCable's publishers, unmodified: the one of @anycable/serverless-js, and what the gem anycable writes, by its own means
(Net::HTTP, keys made by OpenSSL)."""
import json
import os
import subprocess

from tests.clients.nodes import Node, need_node
from tests.clients.rubies import need_ruby
from tests.support.bus import Bus, main

MODULES = ("@anycable/serverless-js",)
SECRET = "an application secret of more than 32 bytes"
# What the gem does when it has an application secret and no key: lib/anycable/config.rb, broadcast_adapters/http.rb.
RUBY = """
require "json"; require "net/http"; require "openssl"
url, secret = ARGV
key = OpenSSL::HMAC.hexdigest("SHA256", secret, "broadcast-cable")
post = lambda do |payload|
  uri = URI.parse(url)
  http = Net::HTTP.new(uri.host, uri.port)
  request = Net::HTTP::Post.new(url, {"Content-Type" => "application/json", "Authorization" => "Bearer #{key}"})
  request.body = payload.to_json
  response = http.request(request)
  abort "#{response.code} #{response.body}" unless Net::HTTPCreated === response
end
post.({stream: "chat/1", data: {text: "é", n: 1}.to_json})
post.([{stream: "chat/1", data: {n: 2}.to_json}, {stream: "chat/1", data: {n: 3}.to_json, meta: {exclude_socket: "abc"}}])
"""


def bus_with_secret():
    bus = Bus(frontends=("http", "tcp"), start=False)
    path = os.path.join(bus.dir, "secret")
    with open(path, "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(SECRET)
    bus.config["http"]["broadcast"] = {"access": "key", "secret_file": path}
    bus.write_config()
    bus.start_all()
    return bus


def address(bus):
    return f"http://127.0.0.1:{bus.http_port}/_broadcast"


def test_serverless_js():
    import hashlib
    import hmac
    key = hmac.new(SECRET.encode(), b"broadcast-cable", hashlib.sha256).hexdigest()
    with bus_with_secret() as bus:
        tcp = bus.tcp()
        tcp.sub("chat/#")
        with Node("publisher.mjs", address(bus), key, modules=MODULES) as node:
            for data in ({"text": "é", "n": [1, None]}, "a string", 5, None):
                node.do("broadcast", stream="chat/1", data=data)
                got = tcp.message()
                assert (got["topic"], got["data"]) == ("chat/1", data), got
            assert got.get("type") is None
            node.wait(4, event="broadcast")
            node.do("broadcast", stream="room #1", data=1)
            assert "Bad Request" in node.wait(event="failed")["message"]
        with Node("publisher.mjs", address(bus), "0" * 64, modules=MODULES) as node:
            node.do("broadcast", stream="chat/1", data=1)
            assert "Unauthorized" in node.wait(event="failed")["message"]


def test_as_the_gem_does():
    with bus_with_secret() as bus:
        r = subprocess.run([need_ruby(), "-e", RUBY, address(bus), SECRET], capture_output=True, text=True, timeout=60, check=False)
        assert r.returncode == 0, r
        messages = bus.http("GET", "/topics/chat/1?last=10").json()["messages"]
        assert [m["data"] for m in messages] == [{"text": "é", "n": 1}, {"n": 2}, {"n": 3}], messages
        assert messages[2]["headers"] == {"busbar-exclude": "abc"}, json.dumps(messages)


if __name__ == "__main__":
    need_node(*MODULES)
    need_ruby()
    main([test_serverless_js, test_as_the_gem_does])
