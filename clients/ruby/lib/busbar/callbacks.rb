# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

module Busbar
  # What waits to be handed to the callbacks of subscriptions, and the one thread that hands it out, in order. A callback may do
  # whatever it likes, for as long as it likes: nothing else waits for it. What may wait is bounded; Client suspends the
  # subscriptions that go on when it is full, and lets them catch up by their cursors.
  class Callbacks # :nodoc:
    # mutex: the client's; it is held whenever a method is called, and not while a callback runs. on_room is called, with the
    # mutex, when half of what is allowed is free again.
    def initialize(mutex, max, max_bytes, logger, on_room)
      @mutex = mutex
      @max = max
      @max_bytes = max_bytes
      @logger = logger
      @on_room = on_room
      @queue = []
      @n_bytes = 0
      @changed = ConditionVariable.new
      @is_stopped = false
      @thread = nil
    end

    def full?
      @queue.size >= @max || @n_bytes >= @max_bytes
    end

    def push(subscription, what)
      n = size_of(what)
      @queue << [subscription, what, n]
      @n_bytes += n
      start unless @thread&.alive?
      @changed.signal
    end

    def stop
      @is_stopped = true
      @queue.clear
      @changed.broadcast
    end

    # Without the mutex: waits for a callback that runs, unless that is who asks.
    def join(seconds)
      @thread.join(seconds) if @thread && @thread != Thread.current
    end

    private

    def size_of(what)
      what.is_a?(Message) ? what.payload.bytesize + what.topic.bytesize : 0
    end

    def start
      @thread = Thread.new { run }
      @thread.name = "busbar callbacks"
      @thread.report_on_exception = true
    end

    def run
      while (subscription, what = take)
        begin
          subscription.call_(what)
        rescue StandardError => e
          @logger&.error { "busbar: a callback of #{subscription.filters.inspect} failed: #{e.full_message(highlight: false)}" }
        end
      end
    end

    # The next of a subscription that was not cancelled, or nil when it is over.
    def take
      @mutex.synchronize do
        until @is_stopped
          if @queue.empty?
            @changed.wait(@mutex)
            next
          end
          subscription, what, n = @queue.shift
          @n_bytes -= n
          @on_room.call if @queue.size <= @max / 2 && @n_bytes <= @max_bytes / 2
          return [subscription, what] unless subscription.state == :cancelled
        end
      end
    end
  end
end
