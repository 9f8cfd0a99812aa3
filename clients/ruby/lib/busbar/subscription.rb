# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

module Busbar
  # What Client#subscribe gives back. It lives through lost connections, going on from the cursor of its newest message.
  class Subscription
    # Where the stream stands, as the bus said last.
    State = Struct.new(:state, :cursor, :topics, :count)

    attr_reader :filters
    # The newest position that was handed to the callback: give it as `since` later, here or on another transport.
    attr_reader :cursor
    # :pending, :live, :recovered, :gap, :reset, :refused, :cancelled
    attr_reader :state
    attr_accessor :wire_id # :nodoc: the id of its request on this connection; nil while it is suspended

    def initialize(client, filters, since, last, on_message, on_state, on_error)
      @client = client
      @filters = filters
      @cursor = @read_cursor = since
      @last = last
      @on_message = on_message
      @on_state = on_state
      @on_error = on_error
      @state = :pending
      @is_confirmed = false
      @error = nil
      @changed = ConditionVariable.new
    end

    # Waits until the bus has confirmed it: self, or Refused or TimeoutError raised.
    def wait(timeout = nil)
      @client.wait_subscribed_(self, timeout)
    end

    # Ends it. No callback of it begins after this.
    def cancel
      @client.cancel_(self)
    end

    # The rest is for the client, under its mutex.
    def request_ # :nodoc:
      request = {op: "sub", id: @wire_id, topic: @filters}
      if @read_cursor
        request[:since] = @read_cursor
      elsif @last
        request[:last] = @last
      end
      request
    end

    # What was read is ahead of what was handed out by what waits in the queue.
    def read_(message) # :nodoc:
      @read_cursor = message.cursor unless message.retained? # a kept value is old: it does not move the stream
    end

    def told_(told) # :nodoc:
      @is_confirmed = true if told.state != :dropped
      @state = told.state if told.state != :dropped && @state != :cancelled
      @read_cursor = told.cursor || @read_cursor
      @changed.broadcast
    end

    def end_(state, error = nil) # :nodoc:
      return if ended?

      @state = state
      @error = error
      @changed.broadcast
    end

    def ended? # :nodoc:
      %i[cancelled refused].include?(@state)
    end

    def confirmed? # :nodoc:
      @is_confirmed
    end

    def error_ # :nodoc:
      @error
    end

    def wait_(mutex, seconds) # :nodoc:
      @changed.wait(mutex, seconds)
    end

    # Without the mutex, in the thread of the callbacks.
    def call_(what) # :nodoc:
      case what
      when Message
        @cursor = what.cursor unless what.retained?
        @on_message&.call(what)
      when State
        @cursor = what.cursor || @cursor
        @on_state&.call(what)
      else
        @on_error&.call(what)
      end
    end
  end
end
