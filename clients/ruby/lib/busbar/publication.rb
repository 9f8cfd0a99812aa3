# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

module Busbar
  # A publish under way. Client#publish waits for it; Client#publish_async hands it out.
  class Publication
    attr_reader :id, :line, :deadline, :n_payload # :nodoc:

    def initialize(client, id, line, n_payload, deadline)
      @client = client
      @id = id
      @line = line
      @n_payload = n_payload
      @deadline = deadline
      @changed = ConditionVariable.new
      @is_done = false
    end

    # Whether it is known what became of it.
    def done?
      @is_done
    end

    # Waits for the answer: the message's cursor, or an error raised. The wait is bounded by the publish's own timeout.
    def value
      @client.wait_(self)
    end

    # The rest is for the client, under its mutex.
    def settle_(cursor, error) # :nodoc:
      @is_done = true
      @cursor = cursor
      @error = error
      @changed.broadcast
    end

    def wait_(mutex, seconds) # :nodoc:
      @changed.wait(mutex, seconds)
    end

    def result_ # :nodoc:
      raise @error if @error

      @cursor
    end
  end
end
