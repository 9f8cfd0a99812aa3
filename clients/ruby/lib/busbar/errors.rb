# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

module Busbar
  # Everything that this library raises, but for ArgumentError where a call itself is wrong.
  class Error < StandardError; end

  # The bus has refused: #code is from the table of errors in docs/protocol.md, for programs.
  class Refused < Error
    attr_reader :code

    def initialize(code, message)
      @code = code
      super(message)
    end
  end

  # No answer came in time. A publish may or may not have happened; nothing is sent for it any more.
  class TimeoutError < Error; end

  # So much waits for the bus already that no more is taken.
  class QueueFull < Error; end

  # The client was closed, or belongs to another process (a publication of before a fork).
  class Closed < Error; end

  # A name that no topic can have. The message says why, and what to do.
  class InvalidTopic < Error; end
end
