# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

require_relative "support"
require "stringio"
require "logger"
begin
  require "action_cable"
  require "active_support/core_ext/hash/indifferent_access"
  require "active_support/core_ext/string/inflections"
rescue LoadError => e
  abort "SKIP: #{e.message}"
end

# What Rails asks of a subscription adapter, in the shapes of its own tests: two adapters on one bus, one that receives and one
# that sends; and what this one promises beyond that.
class AdapterTest < BusTest
  def server(url: bus.url, **options)
    log = (@log ||= StringIO.new)
    config = ActionCable::Server::Configuration.new
    config.cable = {adapter: "busbar", url: url, min_delay: 0.05, **options}.with_indifferent_access
    config.logger = Logger.new(log)
    ActionCable::Server::Base.new(config: config)
  end

  def adapter(**options)
    made = server(**options).then { |s| s.config.pubsub_adapter.new(s) }
    made.define_singleton_method(:close) { shutdown }
    keep(made)
  end

  def rx
    @rx ||= adapter
  end

  def tx
    @tx ||= adapter
  end

  # Subscribes, waits for the confirmation, and gives a queue of what comes; afterwards nothing more may come.
  def listening(channel, to = rx)
    heard = Heard.new
    confirmed = Heard.new
    callback = ->(payload) { heard << payload }
    to.subscribe(channel, callback, -> { confirmed << true })
    confirmed.next
    yield heard
    to.broadcast(channel, "\"the last one\"")
    assert_equal "\"the last one\"", heard.next
  ensure
    to.unsubscribe(channel, callback)
  end

  def test_subscribe_and_unsubscribe
    listening("channel") { |heard| assert_empty heard }
  end

  def test_broadcasts_come_in_order
    listening("channel") do |heard|
      assert_nil tx.broadcast("channel", "hello world")
      assert_equal "hello world", heard.next
      100.times { |i| tx.broadcast("channel", "{\"n\":#{i}}") }
      assert_equal (0...100).map { |i| "{\"n\":#{i}}" }, heard.take(100)
    end
  end

  def test_nothing_after_unsubscribe
    kept = nil
    listening("channel") do |heard|
      kept = heard
      tx.broadcast("channel", "1")
      assert_equal "1", heard.next
    end
    listening("channel") do |heard|
      tx.broadcast("channel", "2")
      assert_equal "2", heard.next
    end
    assert_empty kept
    rx.unsubscribe("channel", -> {})
    rx.unsubscribe("never", -> {})
  end

  def test_two_of_the_same_and_two_at_once
    listening("channel") do |one|
      listening("channel") do |same|
        listening("other channel") do |other|
          tx.broadcast("channel", "1")
          tx.broadcast("other channel", "2")
          assert_equal %w[1 1 2], [one.next, same.next, other.next]
        end
      end
      assert_equal ["\"the last one\""], one.take(1)
      tx.broadcast("channel", "3")
      assert_equal "3", one.next
    end
  end

  def test_long_names
    one, two = %w[1 2].map { |end_| "a" * 100 + end_ }
    listening(one) do |heard|
      listening(two) do |heard_2|
        tx.broadcast(one, "1")
        tx.broadcast(two, "2")
        assert_equal %w[1 2], [heard.next, heard_2.next]
      end
    end
  end

  def test_channel_prefix
    mine = adapter(channel_prefix: "foo")
    listening("channel") do |plain|
      listening("channel", mine) do |prefixed|
        tx.broadcast("channel", "1")
        mine.broadcast("channel", "2")
        assert_equal %w[1 2], [plain.next, prefixed.next]
      end
    end
    assert_equal 2, bus.messages("foo:channel").size
    adapter(channel_prefix: "rails/").broadcast("chat/1", "3")
    assert_equal [3], bus.messages("rails/chat/1").map { |m| m["data"] }
  end

  # --- beyond Rails' own ---

  def test_payloads_pass_byte_for_byte
    ['{"b" : 1.50,"a":"\u00e9\\u00e9\\u2028"}', '"text"', "null", "[]", "not json", "", "{", "\xff\x00".b, "\u{1f600}"].each do |payload|
      listening("channel") do |heard|
        tx.broadcast("channel", payload)
        assert_equal payload.b, heard.next.b
      end
    end
    assert_equal [{"b" => 1.5, "a" => "éé\u2028"}, "text", nil, []], bus.messages("channel").map { |m| m["data"] }.grep_v("the last one").first(4)
  end

  def test_what_others_publish_arrives_as_json
    other = client
    listening("chat/1") do |heard|
      other.publish("chat/1", {"text" => "hello"})
      other.publish("chat/1", "typed by a person")
      other.publish("chat/1", "\xff\x00".b)
      assert_equal [{"text" => "hello"}, "typed by a person", "/wA="], heard.take(3).map { |payload| ActiveSupport::JSON.decode(payload) }
    end
    other.publish("chat/1", "kept", retain: true)
    listening("chat/1") { |heard| assert_empty heard }
  end

  def test_rails_own_ways_to_broadcast
    rails = server
    other = Heard.new
    client.subscribe("chat:#{channel_key = 'Z2lkOi8vYXBwL1Jvb20vMQ'}") { |message| other << message }.wait(DEADLINE)
    room = Struct.new(:to_gid_param).new(channel_key)
    channel = Class.new(ActionCable::Channel::Base) { def self.channel_name = "chat" }
    rails.broadcast(channel.broadcasting_for(room), {text: "é </script>", at: Time.utc(2024)})
    got = other.next
    assert_equal [:json, {"text" => "é </script>", "at" => "2024-01-01T00:00:00.000Z"}], [got.kind, got.data]
    assert_equal ActiveSupport::JSON.encode({text: "é </script>", at: Time.utc(2024)}), got.payload
    rails.broadcast("plain", "raw", coder: nil)
    assert_equal ["raw"], bus.messages("plain").map { |m| m["data"] }
  ensure
    rails&.pubsub&.shutdown
  end

  def test_names_that_are_no_topics
    {"room #1" => "room-1", "a+b" => "wildcard", "$x" => "the bus's own", "" => "empty", "x" * 2000 => "digest"}.each do |name, why|
      assert_includes assert_raises(Busbar::InvalidTopic) { tx.broadcast(name, "1") }.message, why
      assert_raises(Busbar::InvalidTopic) { rx.subscribe(name, -> {}) }
      assert_includes @log.string, why
      rx.unsubscribe(name, -> {})
    end
  end

  def test_options
    assert_includes assert_raises(ArgumentError) { adapter(chanel_prefix: "x") }.message, "channel_prefix"
    assert_raises(ArgumentError) { adapter(url: "redis://127.0.0.1:6379") }
    assert_raises(Busbar::TimeoutError) { bus.pause("tcp") && adapter(timeout: 0.3).broadcast("a", "1") }
    bus.cont("tcp")
  end

  # Neither the first channel of a stream nor the next is confirmed before the bus has confirmed.
  def test_confirmed_when_the_bus_has_confirmed
    rx.broadcast("warm", "1")
    bus.pause("tcp")
    confirmed = Heard.new
    2.times { |i| rx.subscribe("channel", ->(_) {}, -> { confirmed << i }) }
    assert_raises(RuntimeError) { confirmed.next(0.3) }
    bus.cont("tcp")
    assert_equal [0, 1], confirmed.take(2)
    rx.subscribe("channel", ->(_) {}, -> { confirmed << 2 })
    assert_equal 2, confirmed.next
  end

  def test_a_refused_stream_is_not_confirmed_and_is_told
    bus(limits: {subscriptions_per_client: 1})
    listening("one") do
      confirmed = Heard.new
      rx.subscribe("two", ->(_) {}, -> { confirmed << true })
      wait_until("the log to say so") { @log.string.include?("limit_reached") }
      assert_empty confirmed
    end
    listening("two") { |heard| assert_empty heard }
  end

  def test_a_channel_that_fails_is_alone_with_it
    confirmed = Heard.new
    rx.subscribe("channel", ->(_) { raise "a channel's fault" }, -> { confirmed << true && raise("another") })
    confirmed.next
    listening("channel") do |heard|
      tx.broadcast("channel", "1")
      assert_equal "1", heard.next
    end
    assert_includes @log.string, "a channel's fault"
  end

  # Broadcasts from several threads while `yield` breaks something, twice: everything comes, once, in each thread's order.
  def through(sender, receiver)
    n = 120
    listening("channel", receiver) do |heard|
      sent = Thread::Queue.new
      threads = (0...3).map { |t| Thread.new { n.times { |i| sent << sender.broadcast("channel", "[#{t},#{i}]") } } }
      [n, 2 * n].each do |k|
        wait_until("some to be sent") { sent.size > k }
        yield sent
      end
      threads.each(&:join)
      got = heard.take(3 * n).map { |payload| JSON.parse(payload) }
      3.times { |t| assert_equal (0...n).to_a, got.select { |m| m[0] == t }.map(&:last) }
      assert_equal 3 * n, bus.messages("channel").size
    end
  end

  def test_the_frontend_is_killed
    through(tx, rx) { bus.kill("tcp").then { bus.start("tcp") } }
  end

  def test_the_broker_is_restarted
    bus(**DURABLE)
    through(tx, rx) { bus.kill("broker").then { bus.start("broker") } }
  end

  def test_connections_are_lost_in_the_middle
    to, from = Array.new(2) { keep(Proxy.new(bus.ports["tcp"])) }
    through(adapter(url: to.url), adapter(url: from.url)) do |sent|
      to.is_deaf = true
      wait_until("a broadcast whose answer is lost") { bus.messages("channel").size > sent.size }
      from.cut
      to.is_deaf = false
      to.cut
    end
  end

  # preload_app! and an initializer that broadcasts: the workers connect for themselves.
  def test_fork
    confirmed = Heard.new
    heard = Heard.new
    rx.subscribe("channel", ->(payload) { heard << payload }, -> { confirmed << true })
    confirmed.next
    reader, writer = IO.pipe
    pid = fork do
      child = Heard.new
      sure = Heard.new
      rx.subscribe("channel", ->(payload) { child << payload }, -> { sure << true })
      sure.next
      rx.broadcast("channel", "\"child\"")
      writer.puts child.next
      rx.shutdown
    ensure
      writer.close
      exit!(0)
    end
    writer.close
    assert_equal "\"child\"\n", reader.read
    Process.wait(pid)
    rx.broadcast("channel", "\"parent\"")
    assert_equal ["\"child\"", "\"parent\""], heard.take(2)
  end
end
