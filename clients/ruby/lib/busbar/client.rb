# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

require "json"
require "securerandom"
require "uri"

module Busbar
  # A client of the bus: the native protocol as JSON, over TCP (docs/protocol.md).
  #
  #     bus = Busbar::Client.new("busbar://127.0.0.1:7070")
  #     bus.subscribe("chat/#") { |message| puts "#{message.topic}: #{message.data}" }
  #     bus.publish("chat/room1", {text: "hello"})   # returns when the bus has it
  #
  # One object serves all threads of a process; it has one connection, which a thread of its own reads and writes. After a
  # fork the child gets a connection of its own with its first call, and none of the parent's subscriptions.
  #
  # When the connection is lost it connects again, with growing delays; each subscription goes on from the cursor of its newest
  # message, and each publish without an answer is sent again under the idempotency key that it had, so it is appended once.
  # Nothing waits for ever, and what may wait is bounded.
  class Client
    PORT = 7070
    # All times in seconds.
    DEFAULTS = {
      timeout: 10,             # how long a publish may take, through however many connections
      connect_timeout: 5,      # how long one attempt to connect may take
      min_delay: 0.2,          # before the second attempt; doubles,
      max_delay: 10,           # up to this; each times a random 0.5 to 1
      ping_interval: 25,       # silence after which the server is asked whether it is there
      pong_timeout: 10,        # silence after that, and the connection is given up
      max_pending: 1000,       # publishes that may wait for an answer,
      max_pending_bytes: 16 << 20,  # and what they may hold together
      max_queued: 1000,        # messages that may wait for callbacks,
      max_queued_bytes: 16 << 20,   # and what they may hold together
    }.freeze
    # Publishes are repeated for as long as they wait, and the broker knows a key for broker.dedupe_window, two minutes by default.
    MAX_TIMEOUT = 100
    # Answers that another moment may not give: what they answer is asked again within a second.
    PASSING = %w[unavailable timeout shutting_down].freeze
    NO_DATA = Object.new.freeze
    FORKED = Mutex.new
    private_constant :NO_DATA, :FORKED

    attr_reader :url

    # options: those of DEFAULTS, and logger: anything like Logger.
    def initialize(url = "busbar://127.0.0.1:#{PORT}", logger: nil, **options)
      unknown = options.keys - DEFAULTS.keys
      raise ArgumentError, "no such option: #{unknown.join(', ')}; there are #{DEFAULTS.keys.join(', ')}" if unknown.any?

      @options = DEFAULTS.merge(options)
      @options.each { |name, value| raise ArgumentError, "#{name} is not a positive number: #{value.inspect}" unless positive?(value) }
      @url = url.to_s
      @host, @port = read_url(@url)
      @logger = logger
      begin_process
    end

    # Publishes and returns the message's cursor once the bus has it. Raises Refused, TimeoutError (it may have happened or
    # not), QueueFull, InvalidTopic or Closed.
    #
    # data: a String is text, in an encoding of ASCII-8BIT it is bytes; anything else is sent as JSON. json: instead of data, a
    # JSON text that is passed on as it is. Further: retain, type, headers (a Hash), key (what the message is the value of; subscribers get it), once (an
    # idempotency key of your own), timeout.
    def publish(topic, data = NO_DATA, **options)
      publication = publish_async(topic, data, **options)
      publication.value
    ensure
      withdraw(publication) if publication && !publication.done?
    end

    # The same, but returns a Publication at once. It is given up after its timeout, whether anybody waits for it or not.
    def publish_async(topic, data = NO_DATA, json: nil, retain: false, type: nil, headers: nil, key: nil, once: nil,
                      timeout: @options[:timeout])
      raise ArgumentError, "timeout is more than 0 and at most #{MAX_TIMEOUT} s: #{timeout.inspect}" unless positive?(timeout) && timeout <= MAX_TIMEOUT

      members, n_payload = payload_members(data, json, type)
      members << ",\"retain\":true" if retain
      members << ",\"key\":" << JSON.generate(key.to_s) if key
      members << ",\"headers\":" << JSON.generate(headers.to_h { |name, value| [name.to_s, value.to_s] }) if headers&.any?
      topic = JSON.generate(Names.topic(topic))
      enter do
        id = @next_id += 1
        line = "{\"op\":\"pub\",\"id\":#{id},\"topic\":#{topic},\"once\":#{JSON.generate(once || "#{@once_prefix}-#{id}")}#{members}}\n"
        hold(Publication.new(self, id, line, n_payload, now + timeout))
      end
    end

    # Calls the block with each Message that matches, in order, in one thread that all subscriptions share. `filter` is a topic,
    # a filter with wildcards, or an array of them. Returns a Subscription at once; Subscription#wait waits for the bus.
    #
    # since: a cursor: first everything after it. last: or: the last so many messages of each topic first.
    # on_state: called with a Subscription::State each time that the bus says where the stream stands: live and recovered: nothing
    # is missing; gap: messages of `topics` are gone; reset: the old cursor is void; dropped: `count` messages were thrown away.
    # on_error: called with a Refused if the bus does not want it; it has ended then.
    def subscribe(filter, since: nil, last: nil, on_state: nil, on_error: nil, &on_message)
      raise ArgumentError, "since and last exclude each other" if since && last

      filters = filter.is_a?(Array) ? filter.map { |f| Names.filter(f) } : Names.filter(filter)
      enter do
        subscription = Subscription.new(self, filters, since, last, on_message, on_state, on_error)
        @subscriptions[subscription] = true
        request(subscription) if @connection
        run_
        subscription
      end
    end

    # Whether there is a connection now. It may be lost the next moment: nothing needs to ask.
    def connected?
      @pid == Process.pid && @is_welcome && !@is_closed
    end

    # Ends everything: what is without an answer is waited for at most `wait` seconds, then fails with Closed.
    def close(wait: 0)
      begin_process if @pid != Process.pid # what came with the fork is the parent's
      reader = nil
      @mutex.synchronize do
        return if @is_closed

        wait_for_answers(now + wait)
        @is_closed = true
        end_all(Closed.new("the client was closed"))
        reader = @reader
        wake
      end
      # It may be looking up a name, which nothing can interrupt but its own limit.
      reader.join(@options[:connect_timeout]) if reader && reader != Thread.current
      @callbacks.join(@options[:connect_timeout])
      nil
    end

    # --- for Publication and Subscription ---

    def wait_(publication) # :nodoc:
      begin_process if @pid != Process.pid
      undisturbed do
        until publication.done?
          left = publication.deadline - now
          left.positive? ? publication.wait_(@mutex, left) : expire(publication)
        end
        publication.result_
      end
    end

    def wait_subscribed_(subscription, timeout) # :nodoc:
      deadline = now + (timeout || @options[:timeout])
      enter do
        until subscription.confirmed? || subscription.ended?
          left = deadline - now
          raise TimeoutError, "the bus has not confirmed the subscription of #{subscription.filters.inspect} in time#{because}" unless left.positive?

          subscription.wait_(@mutex, left)
        end
        raise subscription.error_ || Closed.new("the subscription was cancelled") if subscription.ended?

        subscription
      end
    end

    def cancel_(subscription) # :nodoc:
      return if @pid != Process.pid

      undisturbed do
        next if subscription.ended?

        subscription.end_(:cancelled)
        @subscriptions.delete(subscription)
        @suspended.delete(subscription)
        leave(subscription)
      end
    end

    private

    def positive?(value)
      value.is_a?(Numeric) && value.real? && value.positive?
    end

    def read_url(url)
      uri = URI.parse(url)
      is_good = uri.scheme == "busbar" && uri.host && ["", "/"].include?(uri.path) && !uri.query && !uri.userinfo
      raise ArgumentError, "#{url.inspect} is no address of a bus; one looks like busbar://127.0.0.1:#{PORT}" unless is_good

      [uri.hostname, uri.port || PORT]
    rescue URI::InvalidURIError
      raise ArgumentError, "#{url.inspect} is no address of a bus; one looks like busbar://127.0.0.1:#{PORT}"
    end

    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end

    # --- a process ---

    # Everything that one process has for itself.
    def begin_process
      FORKED.synchronize do
        next if @pid == Process.pid

        left_behind = @pending&.values || []
        @reader_end&.close
        @writer_end&.close
        @connection&.close # our copy of it; the parent's goes on
        @mutex = Mutex.new
        @answered = ConditionVariable.new
        @pending = {}
        @n_pending_bytes = 0
        @earliest = nil
        @subscriptions = {}.compare_by_identity
        @suspended = {}.compare_by_identity
        @routes = {}
        @put_off = []
        @again_at = nil
        @next_id = 0
        @once_prefix = SecureRandom.alphanumeric(14)
        @reader_end, @writer_end = IO.pipe
        @is_woken = false
        @connection = nil
        @is_welcome = false
        @outbox = []
        @lost = nil
        @reader = nil
        @is_closed ||= false
        @callbacks = Callbacks.new(@mutex, @options[:max_queued], @options[:max_queued_bytes], @logger, method(:resume))
        left_behind.each { |publication| publication.settle_(nil, Closed.new("it was published before this process was forked")) }
        @pid = Process.pid
      end
    end

    def enter
      begin_process if @pid != Process.pid
      undisturbed do
        raise Closed, "the client was closed" if @is_closed

        yield
      end
    end

    # With the mutex; a Timeout around a call ends its waiting, and never half a change.
    def undisturbed(&block)
      Thread.handle_interrupt(Exception => :on_blocking) { @mutex.synchronize(&block) }
    end

    # With the mutex: has the reader running.
    def run_
      return if @reader&.alive?

      @reader = Thread.new { run }
      @reader.name = "busbar reader"
    end

    # With the mutex: the reader looks up from what it waits for.
    def wake
      @writer_end.write_nonblock(".", exception: false) unless @is_woken
      @is_woken = true
    end

    # --- publishing; with the mutex, but for the first ---

    # `,"type":...,"data":...`, and how long the payload is.
    def payload_members(data, json, type)
      raise ArgumentError, "give data or json:, not both and not neither" if (data == NO_DATA) == json.nil?

      type = type&.to_s
      raw, encoding, n = json ? json_members(json) : data_members(data, type)
      if encoding.nil? && raw.start_with?('"') && (json || !data.is_a?(String))
        type ||= "application/json" # else it would be text
        raise ArgumentError, "a JSON string cannot have the type #{type}" unless type.match?(Message::JSON_TYPE)
      end
      members = +""
      members << ",\"type\":" << JSON.generate(type) if type
      members << ",\"encoding\":" << JSON.generate(encoding) if encoding
      [members << ",\"data\":" << raw, n]
    end

    def json_members(json)
      text = Names.utf8(json)
      raise ArgumentError, "json: is not JSON: #{Names.show(text.scrub)}" unless JSONText.valid?(text)

      # A line is a line: JSON's own strings hold no line break, so those that there are stand between tokens.
      [text.strip.tr("\r\n", "  "), nil, text.bytesize]
    end

    def data_members(data, type)
      unless data.is_a?(String)
        raw = JSON.generate(data)
        return [raw, nil, raw.bytesize]
      end
      return [JSON.generate([data].pack("m0")), "base64", data.bytesize] if data.encoding == Encoding::BINARY
      raise ArgumentError, "text of type #{type} would be taken for a JSON string; give JSON as json:" if type&.match?(Message::JSON_TYPE)

      text = data.encode(Encoding::UTF_8)
      raise ArgumentError, "the text is not valid #{data.encoding}; give bytes in an encoding of ASCII-8BIT" unless text.valid_encoding?

      [JSON.generate(text), nil, text.bytesize]
    end

    def hold(publication)
      n = publication.line.bytesize
      if @pending.size >= @options[:max_pending] || @n_pending_bytes + n > @options[:max_pending_bytes]
        raise QueueFull, "#{@pending.size} publishes of #{@n_pending_bytes} bytes wait for the bus already#{because}"
      end

      @pending[publication.id] = publication
      @n_pending_bytes += n
      if @earliest.nil? || publication.deadline < @earliest
        @earliest = publication.deadline
        wake
      end
      transmit(publication) if @is_welcome
      run_
      publication
    end

    # The server ends a connection that sends it a line far too long, so what it would refuse is not sent.
    def transmit(publication)
      if publication.n_payload > @max_payload
        settle(publication, nil, Refused.new("message_too_large",
          "The message has #{publication.n_payload} bytes; this server takes #{@max_payload} (limits.message_bytes)."))
      else
        send_line(publication.line)
      end
    end

    def settle(publication, cursor, error)
      return unless @pending.delete(publication.id)

      @n_pending_bytes -= publication.line.bytesize
      publication.settle_(cursor, error)
      @answered.broadcast
    end

    def expire(publication)
      topic = JSON.parse(publication.line)["topic"]
      settle(publication, nil, TimeoutError.new("no answer in time to a publish to #{Names.show(topic)}; it may have happened or not#{because}"))
    end

    def withdraw(publication)
      return if @pid != Process.pid

      @mutex.synchronize { settle(publication, nil, TimeoutError.new("the publish was interrupted; it may have happened or not")) }
    end

    # What everybody who waits should know.
    def because
      return "" if @is_welcome

      @lost ? " (not connected with #{@url}: #{@lost})" : " (connecting with #{@url})"
    end

    def wait_for_answers(deadline)
      until @pending.empty?
        left = deadline - now
        return unless left.positive?

        @answered.wait(@mutex, left)
      end
    end

    # --- subscriptions; with the mutex ---

    def request(subscription)
      subscription.wire_id = @next_id += 1
      @routes[subscription.wire_id] = subscription
      send_line(JSON.generate(subscription.request_) << "\n")
    end

    def leave(subscription)
      return unless @routes.delete(subscription.wire_id)

      send_line("{\"op\":\"unsub\",\"id\":#{subscription.wire_id}}\n")
      subscription.wire_id = nil
    end

    # There is no room for its messages: it goes on from its cursor when there is.
    def suspend(subscription)
      leave(subscription)
      @suspended[subscription] = true
    end

    def resume
      return if @suspended.empty?

      waiting = @suspended.keys
      @suspended.clear
      waiting.each { |subscription| request(subscription) } if @connection
    end

    # --- the reader's thread ---

    def run
      n_attempts = 0
      until closed?
        begin
          connection = Connection.new(@host, @port, @options[:connect_timeout])
          serve(connection) { n_attempts = 0 }
        rescue Connection::Lost => e
          lost(e.message)
        rescue StandardError => e # a fault of ours
          lost("#{e.class}: #{e.message}")
          @logger&.error { "busbar: #{e.full_message(highlight: false)}" }
        ensure
          connection&.close
        end
        pause(delay(n_attempts))
        n_attempts += 1
      end
    end

    def closed?
      @mutex.synchronize { @is_closed }
    end

    def delay(n_attempts)
      [@options[:max_delay], @options[:min_delay] * 2**[n_attempts, 16].min].min * rand(0.5..1.0)
    end

    # Until the time is up or the client is closed; publishes are given up meanwhile when their time is up.
    def pause(seconds)
      deadline = now + seconds
      until closed? || now >= deadline
        # It may be past by now.
        @reader_end.wait_readable([@mutex.synchronize { look_after(deadline) } - now, 0].max)
        drain_wakeups
      end
    end

    def drain_wakeups
      @mutex.synchronize do
        @reader_end.read_nonblock(64, exception: false)
        @is_woken = false
      end
    end

    # With the mutex: what is due by now, and until when nothing is. `deadline` may be nil.
    def look_after(deadline)
      if @earliest && @earliest <= now
        @pending.values.each { |publication| expire(publication) if publication.deadline <= now }
        @earliest = @pending.each_value.map(&:deadline).min
      end
      again if @again_at && @again_at <= now
      [deadline, @earliest, @again_at].compact.min
    end

    def serve(connection)
      greet(connection)
      @heard_at = now
      @pinged_at = nil
      loop do
        deadline = @mutex.synchronize do
          return if @is_closed

          until_then = look_after(watch)
          @outbox.each { |line| connection.write(line) }
          @outbox.clear
          until_then
        end
        lines = connection.turn(@reader_end, [deadline - now, 0].max)
        drain_wakeups
        next if lines.empty?

        yield
        @heard_at = now
        @pinged_at = nil
        @mutex.synchronize { lines.each { |line| receive(line) } }
      end
    end

    # Publishes are sent when the server has said how large they may be.
    def greet(connection)
      @mutex.synchronize do
        @connection = connection
        @outbox.clear
        send_line("{\"op\":\"hello\"}\n")
        @routes.clear
        @put_off.clear
        @subscriptions.each_key { |subscription| request(subscription) unless @suspended.key?(subscription) }
      end
    end

    # Asks a silent server whether it is there; gives the time to look again.
    def watch
      if @pinged_at.nil? && !@is_welcome
        due = @heard_at + @options[:connect_timeout]
        raise Connection::Lost, "the server does not answer" if due <= now

        return due
      end
      if @pinged_at.nil? && @heard_at + @options[:ping_interval] <= now
        @pinged_at = now
        send_line("{\"op\":\"ping\"}\n")
      end
      return @heard_at + @options[:ping_interval] unless @pinged_at
      raise Connection::Lost, "no answer to a ping" if @pinged_at + @options[:pong_timeout] <= now

      @pinged_at + @options[:pong_timeout]
    end

    def lost(reason)
      @mutex.synchronize do
        reason = @closing || reason
        if !@is_closed && @lost != reason # an attempt that fails like the one before is not news
          @logger&.warn("busbar: #{@is_welcome ? 'lost the connection with' : 'cannot connect with'} #{@url}: #{reason}; trying again")
        end
        @lost = reason
        @closing = nil
        @connection = nil
        @is_welcome = false
        @outbox.clear
        @routes.clear
        @put_off.clear
        @again_at = nil
      end
    end

    # With the mutex, like everything below.
    def send_line(line)
      return unless @connection

      @outbox << line
      wake unless Thread.current == @reader
    end

    def end_all(error)
      @pending.values.each { |publication| settle(publication, nil, error) }
      @subscriptions.each_key { |subscription| subscription.end_(:cancelled, error) }
      @subscriptions.clear
      @suspended.clear
      @callbacks.stop
    end

    # --- what the server says ---

    def receive(line)
      raise Connection::Lost, not_ours(line) unless line.valid_encoding?

      before, raw_data, after = JSONText.split(line, Message::DATA)
      fields = JSON.parse(raw_data ? "#{before}null#{after}" : line)
      raise Connection::Lost, not_ours(line) unless fields.is_a?(Hash)

      case fields["op"]
      when "msg" then receive_message(fields, raw_data)
      when "published" then receive_published(fields)
      when "subscribed" then receive_state(@routes[fields["id"]], fields)
      when "state" then receive_state(@routes[fields["sub"]], fields)
      when "welcome" then receive_welcome(fields)
      when "error" then receive_error(fields)
      when "dropped" then receive_dropped(fields)
      when "closing" then @closing = fields["message"]
      end # what is not known is passed over
    rescue JSON::ParserError
      raise Connection::Lost, not_ours(line)
    end

    def not_ours(line)
      "what answers there does not speak the bus's protocol: #{Names.show(line.scrub)}"
    end

    def receive_welcome(fields)
      @max_payload = fields["message_bytes"] || Float::INFINITY
      @logger&.info("busbar: connected with #{@url}") unless @is_welcome
      @is_welcome = true
      @lost = nil
      @pending.values.each { |publication| transmit(publication) }
    end

    def receive_message(fields, raw_data)
      subscription = @routes[fields["sub"]] or return
      return suspend(subscription) if @callbacks.full?

      message = Message.new(fields, raw_data)
      subscription.read_(message)
      @callbacks.push(subscription, message)
    end

    def receive_published(fields)
      publication = @pending[fields["id"]]
      settle(publication, fields["cursor"], nil) if publication
    end

    def receive_state(subscription, fields)
      return unless subscription

      state = Subscription::State.new(fields["state"].to_sym, fields["cursor"], fields["topics"] || [], nil)
      subscription.told_(state)
      @callbacks.push(subscription, state)
    end

    # Answers may have been dropped with the messages: what has none is asked again.
    def receive_dropped(fields)
      again
      @routes.each_value do |subscription|
        @callbacks.push(subscription, Subscription::State.new(:dropped, subscription.cursor, [], fields["count"]))
      end
    end

    def receive_error(fields)
      publication = @pending[fields["id"]]
      subscription = @routes[fields["id"]]
      error = Refused.new(fields["code"], fields["message"])
      if !publication && !subscription
        @logger&.warn("busbar: #{error.code}: #{error.message}")
      elsif PASSING.include?(error.code)
        @put_off << subscription if subscription
        @again_at ||= now + rand(0.5..1.0)
      elsif publication
        settle(publication, nil, error)
      else
        refuse(subscription, error)
      end
    end

    def refuse(subscription, error)
      @routes.delete(subscription.wire_id)
      @subscriptions.delete(subscription)
      subscription.end_(:refused, error)
      @callbacks.push(subscription, error)
    end

    def again
      @again_at = nil
      waiting = @put_off.dup
      @put_off.clear
      waiting.each do |subscription|
        @routes.delete(subscription.wire_id)
        request(subscription) unless subscription.ended?
      end
      @pending.values.each { |publication| transmit(publication) } if @is_welcome
    end
  end
end
