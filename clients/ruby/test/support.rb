# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

# What the tests share: a real bus that obeys (tests/support/ordered.py), a proxy that cuts connections, servers that misbehave.
require "json"
require "open3"
require "socket"
require "minitest/autorun"
require "busbar"

SRC = ENV["BUSBAR_SRC"] || File.expand_path("../../..", __dir__)
DEADLINE = Float(ENV["BUSBAR_TEST_DEADLINE"] || 30)

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

# Waits until the block gives something true, and gives it back.
def wait_until(what, deadline = DEADLINE)
  limit = now + deadline
  until (value = yield)
    raise "not within #{deadline} s: #{what}" if now > limit

    sleep 0.01
  end
  value
end

class OrderedBus
  attr_reader :ports

  def initialize(**options)
    python = ENV["PYTHON3"].to_s.empty? ? "/usr/bin/python3" : ENV["PYTHON3"]
    env = {"PYTHONPATH" => SRC, "PYTHONDONTWRITEBYTECODE" => "1"}
    @in, @out, @process = Open3.popen2(env, python, "-m", "tests.support.ordered", JSON.generate({frontends: ["tcp", "http"]}.merge(options)))
    @ports = answer.fetch("ports")
  end

  def url
    "busbar://127.0.0.1:#{ports['tcp']}"
  end

  %i[kill start stop pause cont].each { |name| define_method(name) { |what| order(do: name, what: what) } }

  # What is kept of a topic, as busbar-http tells it.
  def messages(topic)
    got = order(do: "http", method: "GET", path: "/topics/#{topic}?last=100000")
    raise "#{topic}: #{got}" unless got["status"] == 200

    JSON.parse(got["body"])["messages"]
  end

  def order(**order)
    @in.puts(JSON.generate(order))
    answer
  end

  def close
    @in.close
    code = @process.value
    rest = @out.read
    @out.close
    raise "the bus ended with #{code}: #{rest}" unless code.success?
  end

  private

  def answer
    line = @out.gets or raise "the bus has ended"
    JSON.parse(line).tap { |got| raise got["error"] unless got["ok"] }
  end
end

# Between a client and the bus: passes on, holds the answers back, cuts.
class Proxy
  attr_reader :port

  def initialize(to)
    @to = to
    @server = TCPServer.new("127.0.0.1", 0)
    @port = @server.addr[1]
    @pairs = []
    @mutex = Mutex.new
    @is_deaf = false
    @threads = [Thread.new { accept }]
  end

  def url
    "busbar://127.0.0.1:#{port}"
  end

  # While it is deaf, what the bus says is thrown away.
  attr_writer :is_deaf

  def cut
    @mutex.synchronize do
      @pairs.flatten.each { |s| s.close rescue nil } # rubocop:disable Style/RescueModifier
      @pairs.clear
    end
  end

  def close
    @server.close
    cut
    @threads.each(&:kill)
  end

  private

  def accept
    loop do
      client = @server.accept
      bus = TCPSocket.new("127.0.0.1", @to)
      @mutex.synchronize { @pairs << [client, bus] }
      @threads << Thread.new { pump(client, bus) { |data| data } } << Thread.new { pump(bus, client) { |data| data unless @is_deaf } }
    end
  rescue IOError, SystemCallError
    nil
  end

  def pump(from, to)
    loop do
      data = yield(from.readpartial(65_536))
      to.write(data) if data
    end
  rescue IOError, SystemCallError
    [from, to].each { |s| s.close rescue nil } # rubocop:disable Style/RescueModifier
  end
end

# A server of the test's own making: the block gets each connection.
class FakeServer
  def initialize(&block)
    @server = TCPServer.new("127.0.0.1", 0)
    @thread = Thread.new do
      loop do
        socket = @server.accept
        block.call(socket)
      rescue IOError, SystemCallError
        nil
      end
    end
    @thread.report_on_exception = false
  end

  def url
    "busbar://127.0.0.1:#{@server.addr[1]}"
  end

  def close
    @thread.kill
    @server.close
  end
end

# A queue whose pop has a deadline.
class Heard < Thread::Queue
  def next(deadline = DEADLINE)
    wait_until("something to be heard", deadline) { !empty? }
    pop
  end

  def take(n)
    Array.new(n) { self.next }
  end
end

class BusTest < Minitest::Test
  def bus(**options)
    @bus ||= OrderedBus.new(**options)
  end

  def client(url = bus.url, **options)
    keep(Busbar::Client.new(url, min_delay: 0.05, **options))
  end

  def keep(thing)
    (@kept ||= []) << thing
    thing
  end

  def teardown
    (@kept || []).reverse_each(&:close)
    @bus&.close
  end

  DURABLE = {broker: {backend: "sqlite"}, store: {sync: "always"}}.freeze
end
