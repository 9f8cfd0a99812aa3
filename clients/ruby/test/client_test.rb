# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

require_relative "support"
require "timeout"

class ClientTest < BusTest
  def hear(client, filter, **options)
    heard = Heard.new
    subscription = client.subscribe(filter, **options) { |message| heard << message }
    [heard, subscription.wait(DEADLINE)]
  end

  def test_every_kind_arrives_as_it_was_published
    heard, = hear(client, "a/#")
    publisher = client
    ['{"b" : 1.50,"a":[ 1e2,"\u00e9\\u00e9\\/" ]}', '"a \\u00e9 string"', "null", "12345678901234567890.10"].each do |json|
      cursor = publisher.publish("a/1", json: json)
      got = heard.next
      assert_equal [:json, json, cursor, "a/1"], [got.kind, got.payload, got.cursor, got.topic]
      JSON.parse(json).then { |value| value.nil? ? assert_nil(got.data) : assert_equal(value, got.data) }
    end
    publisher.publish("a/1", json: "{\n\"a\": [1,\r\n2]}")
    assert_equal "{ \"a\": [1,  2]}", heard.next.payload
    {{"x" => [1, nil]} => :json, [1] => :json, 5 => :json, true => :json, "text \u{1f600} \"\\\n" => :text, "" => :text, "\x00\xff".b => :binary}.each do |data, kind|
      publisher.publish("a/1", data)
      got = heard.next
      assert_equal [kind, data], [got.kind, got.data]
      assert_nil got.type unless kind == :json && data.is_a?(String)
    end
    publisher.publish("a/1", "".b)
    assert_equal [:binary, ""], heard.next.then { |m| [m.kind, m.data] }
    publisher.publish("a/1", nil)
    assert_nil heard.next.data
    publisher.publish("a/2", :symbol)
    assert_equal [:json, "\"symbol\""], heard.next.then { |m| [m.kind, m.payload] }
    publisher.publish("a/2", "<p>", type: "text/html", headers: {from: "é", "n" => 1}, retain: true, key: "k")
    got = heard.next
    assert_equal ["text/html", {"from" => "é", "n" => "1"}, "k", false], [got.type, got.headers, got.key, got.retained?]
    assert_equal publisher.publish("a/3", 1, once: "o"), publisher.publish("a/3", 2, once: "o")
    assert_equal [1, nil], heard.next.then { |m| [m.data, m.key] }
    late, = hear(client, "a/2")
    assert late.next.retained?
  end

  def test_positions
    publisher = client
    cursors = (1..5).map { |i| publisher.publish("a", i) }
    heard, subscription = hear(client, "a", since: cursors[1])
    assert_equal :recovered, subscription.state
    assert_equal [3, 4, 5], heard.take(3).map(&:data)
    wait_until("the cursor") { subscription.cursor == cursors[4] }
    assert_equal [4, 5], hear(client, %w[a b], last: 2)[0].take(2).map(&:data)
    subscription.cancel
    subscription.cancel
    publisher.publish("a", 6)
    publisher.publish("b", 7)
    assert_empty heard
    states = Heard.new
    hear(client, "a", since: "ffffffffffff-1", on_state: ->(state) { states << state })
    assert_equal :reset, states.next.state
  end

  def test_what_is_missing_is_told
    bus(topics: [{match: "#", history: {messages: 2}}])
    cursor = client.publish("a", 0)
    (1..5).each { |i| client.publish("a", i) }
    states = Heard.new
    heard, = hear(client, "a", since: cursor, on_state: ->(state) { states << state })
    assert_equal [4, 5], heard.take(2).map(&:data)
    assert_equal [:gap, ["a"]], states.next.to_a.values_at(0, 2)
  end

  def test_refusals
    bus(limits: {subscriptions_per_client: 1, message_bytes: "1KiB"}, topics: [{match: "small", max_message: "10"}, {match: "#", history: {messages: 10}}])
    c = client
    assert_equal "message_too_large", assert_raises(Busbar::Refused) { c.publish("a", "x" * 1025) }.code
    assert_equal "message_too_large", assert_raises(Busbar::Refused) { c.publish("a", "x" * 2_000_000) }.code
    assert_equal "message_too_large", assert_raises(Busbar::Refused) { c.publish("small", "x" * 11) }.code
    deep = "[" * 33 + "]" * 33
    assert_includes assert_raises(Busbar::Refused) { c.publish("a", json: deep) }.message, "nested"
    assert_equal "request_invalid", assert_raises(Busbar::Refused) { c.publish("a", 1, headers: {"x" * 200 => "y"}) }.code
    errors = Heard.new
    wrong = c.subscribe("a/#/b", on_error: ->(error) { errors << error })
    assert_equal "filter_invalid", assert_raises(Busbar::Refused) { wrong.wait(DEADLINE) }.code
    assert_equal "filter_invalid", errors.next.code
    assert_equal :refused, wrong.state
    hear(c, "one")
    assert_equal "limit_reached", assert_raises(Busbar::Refused) { hear(c, "two") }.code
    assert c.publish("a", "still here")
    assert c.connected?
  end

  # The bus has the message, its answer is lost: asked again under the same key, it is not appended again.
  def test_a_connection_is_lost_within_publishes
    proxy = keep(Proxy.new(bus.ports["tcp"]))
    c = client(proxy.url)
    heard, = hear(client, "a")
    assert c.publish("a", "before")
    5.times do |i|
      proxy.is_deaf = true
      publications = (0...10).map { |k| c.publish_async("a", [i, k]) }
      wait_until("the bus to have them") { bus.messages("a").size == 1 + (i + 1) * 10 }
      assert publications.none?(&:done?)
      proxy.is_deaf = false
      proxy.cut
      cursors = publications.map(&:value)
      assert_equal cursors, bus.messages("a").last(10).map { |m| m["cursor"] }
    end
    expected = ["before"] + (0...5).flat_map { |i| (0...10).map { |k| [i, k] } }
    assert_equal expected, heard.take(51).map(&:data)
    assert_equal 51, bus.messages("a").size
    assert_empty heard
  end

  # Threads that publish and a subscriber, through the loss of whatever `lose` ends.
  def through(n_threads: 4, n_each: 100)
    heard, = hear(client, "t/#")
    c = client
    progress = Thread::Queue.new
    threads = (0...n_threads).map do |t|
      Thread.new do
        (0...n_each).map do |i|
          progress << i
          c.publish("t/#{t}", [t, i], timeout: 60)
        end
      end
    end
    [0.3, 0.6].each do |part|
      wait_until("some to be published") { progress.size > n_threads * n_each * part }
      yield
    end
    cursors = threads.map(&:value)
    got = heard.take(n_threads * n_each)
    n_threads.times do |t|
      mine = got.select { |m| m.data[0] == t }
      assert_equal (0...n_each).to_a, mine.map { |m| m.data[1] }
      assert_equal cursors[t], mine.map(&:cursor)
      assert_equal n_each, bus.messages("t/#{t}").size
    end
    assert_equal got.map { |m| m.cursor.split("-").last.to_i }, got.map { |m| m.cursor.split("-").last.to_i }.sort
    assert_empty heard
  end

  def test_the_frontend_is_killed
    through { bus.kill("tcp").then { bus.start("tcp") } }
  end

  def test_the_frontend_is_stopped
    through { bus.stop("tcp").then { bus.start("tcp") } }
  end

  def test_the_broker_is_killed
    bus(**DURABLE)
    through { bus.kill("broker").then { bus.start("broker") } }
  end

  def test_the_bus_is_away_for_a_while
    bus(**DURABLE)
    through do
      bus.kill("tcp")
      bus.kill("broker")
      bus.start("broker")
      bus.start("tcp")
    end
  end

  def test_a_history_that_is_lost_is_told
    states = Heard.new
    heard, = hear(client, "a", on_state: ->(state) { states << state.state })
    assert_equal :live, states.next
    bus.kill("broker")
    publication = client.publish_async("a", 1, timeout: 60)
    bus.start("broker")
    assert_equal :reset, states.next
    assert publication.value
    assert_equal 1, heard.next.data
  end

  def test_nothing_waits_for_ever
    c = client(timeout: 0.5, max_pending: 3)
    assert c.publish("a", 1)
    bus.pause("tcp")
    began = now
    assert_includes assert_raises(Busbar::TimeoutError) { c.publish("a", 2) }.message, '"a"'
    assert_operator now - began, :<, 5
    assert_raises(Busbar::TimeoutError) { c.subscribe("a").wait(0.1) }
    waiting = (1..3).map { c.publish_async("a", 3) }
    assert_raises(Busbar::QueueFull) { c.publish_async("a", 4) }
    wait_until("they are given up without being asked for") { waiting.all?(&:done?) }
    waiting.each { |publication| assert_raises(Busbar::TimeoutError) { publication.value } }
    bus.cont("tcp")
    assert c.publish("a", 5, timeout: DEADLINE)
    assert_raises(Busbar::QueueFull) { client(max_pending_bytes: 100).publish("a", "x" * 100) }
  end

  def test_nobody_is_there
    port = TCPServer.open("127.0.0.1", 0) { |s| s.addr[1] }
    error = assert_raises(Busbar::TimeoutError) { client("busbar://127.0.0.1:#{port}", timeout: 0.5).publish("a", 1) }
    assert_includes error.message, "refused"
    assert_raises(Busbar::TimeoutError) { client("busbar://127.0.0.1:#{port}").subscribe("a").wait(0.3) }
  end

  def test_somebody_else_is_there
    {->(s) { s.gets && s.write("-ERR unknown command\r\n") } => "does not speak", ->(s) { s.gets && s.write("\xff\n") } => "does not speak",
     ->(s) { s.write("[1]\n") && s.gets } => "does not speak", ->(s) { sleep 10 && s } => "does not answer", ->(s) { s.gets && s.close } => "closed"}.each do |answer, why|
      server = keep(FakeServer.new(&answer))
      error = assert_raises(Busbar::TimeoutError) { client(server.url, timeout: 1, connect_timeout: 0.3).publish("a", 1) }
      assert_includes error.message, why
    end
  end

  # What a newer server may say: keys in another order, keys and messages that nobody knows.
  def test_a_server_of_another_day
    server = keep(FakeServer.new do |s|
      s.puts '{"op":"news","x":1}', '{"message_bytes":10,"op":"welcome","more":[]}'
      while (line = s.gets)
        asked = JSON.parse(line)
        next unless asked["op"] == "sub"

        s.puts JSON.generate(cursor: "1-1", x: nil, id: asked["id"], op: "subscribed", state: "live")
        s.puts "{\"data\": {\"data\":[ \"}\" ]} ,\"sub\":#{asked['id']},\"cursor\":\"1-2\",\"y\":{\"data\":0},\"topic\":\"a\",\"time\":5,\"op\":\"msg\"}\r"
      end
    end)
    heard, = hear(client(server.url), "a")
    got = heard.next
    assert_equal ['{"data":[ "}" ]}', "1-2", 5], [got.payload, got.cursor, got.time]
  end

  def test_answers_that_another_moment_may_give
    n = 0
    server = keep(FakeServer.new do |s|
      s.puts '{"op":"welcome","message_bytes":1000}'
      while (line = s.gets)
        asked = JSON.parse(line)
        next unless asked["id"]

        n += 1
        s.puts JSON.generate(n < 3 ? {op: "error", id: asked["id"], code: "unavailable", message: "not now"} : {op: "published", id: asked["id"], cursor: asked["once"]})
      end
    end)
    assert_equal "mine", client(server.url).publish("a", 1, once: "mine")
    assert_equal 3, n
  end

  def test_a_silent_server_is_left
    n = 0
    server = keep(FakeServer.new do |s|
      n += 1
      s.puts '{"op":"welcome","message_bytes":1000}'
      asked = []
      while (line = s.gets)
        asked << JSON.parse(line)
        s.puts "{\"op\":\"published\",\"id\":#{asked.last['id']},\"cursor\":\"1-1\"}" if n > 1 && asked.last["op"] == "pub"
      end
    end)
    assert_equal "1-1", client(server.url, ping_interval: 0.2, pong_timeout: 0.2).publish("a", 1)
    assert_equal 2, n
  end

  # What a callback has no time for waits up to a bound, then the subscription does, and catches up from the history.
  def test_a_slow_callback_holds_up_nobody
    c = client(max_queued: 10)
    heard = Heard.new
    gate = Thread::Queue.new
    states = []
    c.subscribe("a", on_state: ->(state) { states << state.state }) do |message|
      gate.pop
      heard << message.data
    end.wait(DEADLINE)
    (0...200).each { |i| c.publish("a", i) } # its own answers come by the same connection
    queue = c.instance_variable_get(:@callbacks).instance_variable_get(:@queue)
    assert_operator queue.size, :<=, 11
    200.times { gate << true }
    assert_equal (0...200).to_a, heard.take(200)
    assert_includes states, :recovered
    refute_includes states, :gap
  end

  def test_callbacks_may_do_anything
    c = client
    errors = Heard.new
    logger = Class.new do
      define_method(:error) { |text = nil, &block| errors << (text || block.call) }
      %i[warn info].each { |name| define_method(name) { |*| nil } }
    end.new
    heard, = hear(c, "b")
    d = client(logger: logger)
    echo = d.subscribe("a") do |message|
      d.publish("b", message.data)
      raise "a fault of its own" if message.data == 1

      echo.cancel if message.data == 3
    end.wait(DEADLINE)
    (1..5).each { |i| c.publish("a", i) }
    assert_equal [1, 2, 3], heard.take(3).map(&:data)
    assert_includes errors.next, "a fault of its own"
    inner = Heard.new
    c.subscribe("c") { |_| inner << c.subscribe("d").wait(5).state && c.close }.wait(DEADLINE)
    client.publish("c", 1)
    assert_equal :live, inner.next
    wait_until("it closed itself") { !c.connected? }
  end

  # A Puma worker after `preload_app!`: what was connected before the fork stays the parent's.
  def test_fork
    c = client
    heard, = hear(c, "a")
    c.publish("a", "parent")
    bus.pause("tcp")
    left = c.publish_async("a", "in between")
    reader, writer = IO.pipe
    pid = fork do
      child = Heard.new
      failed = begin
        left.value
      rescue Busbar::Closed => e
        e.message
      end
      subscription = c.subscribe("a") { |message| child << message.data }
      bus.cont("tcp")
      subscription.wait(DEADLINE)
      c.publish("a", "child")
      wait_until("its own message") { child.next == "child" }
      writer.puts failed
      c.close
    ensure
      writer.close
      exit!(0) # neither the tests' end nor anything else of the parent's
    end
    writer.close
    assert_includes reader.read, "forked"
    Process.wait(pid)
    assert left.value
    c.publish("a", "parent again")
    assert_equal ["child", "in between", "parent", "parent again"], heard.take(4).map(&:data).sort
    assert_equal 4, bus.messages("a").size
  end

  def test_threads_that_are_interrupted_leave_it_whole
    c = client
    c.publish("a", 0)
    bus.pause("tcp")
    assert_raises(Timeout::Error) { Timeout.timeout(0.2) { c.publish("a", 1) } }
    killed = Thread.new { c.publish("a", 2) }
    wait_until("it waits") { killed.stop? }
    killed.kill.join
    assert_empty c.instance_variable_get(:@pending)
    assert_equal 0, c.instance_variable_get(:@n_pending_bytes)
    bus.cont("tcp")
    assert c.publish("a", 3)
    threads = (0...20).map { |i| Thread.new { (0...50).map { |k| Timeout.timeout(rand(0.0001..0.01)) { c.publish("b", [i, k]) } rescue nil } } } # rubocop:disable Style/RescueModifier
    threads.each(&:join)
    assert_equal 0, c.instance_variable_get(:@n_pending_bytes)
    assert c.publish("a", 4)
  end

  def test_close
    c = client
    c.publish("a", 0)
    n_before = Thread.list.size
    publications = (1..100).map { |i| c.publish_async("a", i) }
    c.close(wait: DEADLINE)
    assert_equal 101, publications.each(&:value).size + 1
    assert_equal 101, bus.messages("a").size
    assert_operator Thread.list.size, :<, n_before + 1
    d = client
    sub = d.subscribe("a").wait(DEADLINE)
    bus.pause("tcp")
    open = d.publish_async("a", 1)
    d.close
    assert_raises(Busbar::Closed) { open.value }
    assert_equal :cancelled, sub.state
    assert_raises(Busbar::Closed) { d.subscribe("a") }
    bus.cont("tcp")
  end

  def test_many_threads_and_large_messages
    c = client(max_pending: 64)
    big = "x" * 500_000
    heard, = hear(client, "big")
    threads = (0...8).map { |i| Thread.new { c.publish("big", "#{i}#{big}", timeout: 60) } }
    assert_equal 8, threads.map(&:value).uniq.size
    assert_equal (0...8).map { |i| "#{i}#{big}" }, heard.take(8).map(&:data).sort
  end
end
