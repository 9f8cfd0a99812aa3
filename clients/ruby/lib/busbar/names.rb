# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

module Busbar
  # What a topic may be called. The same rules as the bus's own, so that a wrong name is an error at the line that uses it.
  module Names
    MAX_BYTES = 1024
    MAX_LEVELS = 128
    CONTROL = /[\u0000-\u001f\u007f-\u009f]/.freeze

    module_function

    # Why this is no topic, and what to do, or nil.
    def topic_problem(name)
      common_problem(name) || begin
        if name.match?(/[+#]/)
          "it contains '+' or '#', which are wildcards; choose a name without them, or write them otherwise, as in 'room-1'"
        elsif name.start_with?("$")
          "names that begin with '$' are the bus's own; put something before it, as in 'app/$...'"
        end
      end
    end

    # The name in UTF-8. Raises InvalidTopic.
    def topic(name)
      name = utf8(name)
      problem = topic_problem(name)
      raise InvalidTopic, "#{show(name)} cannot be a topic of the bus: #{problem}" if problem

      name
    end

    # A filter may have wildcards as well; where they may stand is for the bus to say.
    def filter(name)
      name = utf8(name)
      problem = common_problem(name)
      raise InvalidTopic, "#{show(name)} cannot be a filter: #{problem}" if problem

      name
    end

    def common_problem(name)
      if name.empty?
        "it is empty; give it a name of 1 to #{MAX_BYTES} bytes"
      elsif name.bytesize > MAX_BYTES
        "it has #{name.bytesize} bytes; at most #{MAX_BYTES} are possible: use a shorter key, or a digest of it"
      elsif !name.valid_encoding?
        "it is not UTF-8; encode it first"
      elsif name.match?(CONTROL)
        "it contains a control character; leave it out"
      elsif name.count("/") >= MAX_LEVELS
        "it has more than #{MAX_LEVELS} levels; use fewer '/'"
      end
    end

    # Bytes whose encoding nobody said are taken as UTF-8.
    def utf8(name)
      name = name.to_s
      return name if name.encoding == Encoding::UTF_8

      name.encoding == Encoding::BINARY ? name.dup.force_encoding(Encoding::UTF_8) : name.encode(Encoding::UTF_8)
    rescue EncodingError
      name.dup.force_encoding(Encoding::UTF_8)
    end

    def show(name)
      name.length > 80 ? "#{name[0, 80].inspect}..." : name.inspect
    end
  end
end
