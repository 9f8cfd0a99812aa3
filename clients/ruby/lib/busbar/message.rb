# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

require "json"

module Busbar
  # A message that came. #payload is what was published, byte for byte; #data is what it means.
  class Message
    JSON_TYPE = %r{\A(?:application/json|[^;]*\+json) *(?:;|\z)}i.freeze
    DATA = '"data"'

    # kind: :json, :text or :binary. type: nil if it is the usual one of the kind. time: in ms since 1970. key: nil if it has none.
    attr_reader :topic, :cursor, :time, :kind, :type, :key, :headers, :payload

    # Reads a `msg` line, of which everything but the payload has been parsed.
    def initialize(fields, raw_data)
      @topic = fields["topic"]
      @cursor = fields["cursor"]
      @time = fields["time"]
      @type = fields["type"]
      @key = fields["key"]
      @headers = fields["headers"] || {}
      @retained = fields["retained"] == true
      @kind, @payload = read_payload(raw_data, fields["encoding"])
    end

    # Whether it is the topic's kept value and not new.
    def retained?
      @retained
    end

    # JSON as Ruby's own objects, parsed when it is first asked for; text and bytes as a String.
    def data
      return @payload unless @kind == :json

      @data = JSON.parse(@payload, max_nesting: false) unless defined?(@data)
      @data
    end

    def inspect
      "#<#{self.class} #{@topic} #{@cursor} #{@kind} #{@payload.bytesize} bytes>"
    end

    private

    def read_payload(raw, encoding)
      return [:json, raw] unless raw.start_with?('"')
      return [:binary, raw[1..-2].unpack1("m0")] if encoding == "base64"
      return [:json, raw] if @type&.match?(JSON_TYPE)

      [:text, raw.include?("\\") ? JSON.parse("[#{raw}]")[0] : raw[1..-2]]
    end
  end
end
