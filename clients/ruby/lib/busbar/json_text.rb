# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

require "strscan"

module Busbar
  # JSON as text: a payload passes as it was written, byte for byte, so it is looked at and never made anew.
  module JSONText
    SPACE = /[ \t\r\n]*+/.freeze
    STRING = /"(?:[^"\\\x00-\x1f]++|\\(?:["\\\/bfnrt]|u(?:[0-9a-cefA-CEF]\h{3}|[dD][0-7]\h{2}|[dD][89abAB]\h{2}\\u[dD][c-fC-F]\h{2})))*+"/.freeze
    NUMBER = /-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+/.freeze
    # What stands in no container, and what leads to the next value of one: each with the white space behind it.
    SCALAR_SPACE = /(?:#{STRING}|#{NUMBER}|true|false|null)#{SPACE}/.freeze
    KEY = /#{STRING}#{SPACE}:#{SPACE}/.freeze
    COMMA = /,#{SPACE}/.freeze
    OPEN = {"}" => /\{#{SPACE}/, "]" => /\[#{SPACE}/}.freeze
    CLOSE = {"}" => /\}#{SPACE}/, "]" => /\]#{SPACE}/}.freeze
    # Scalars with another value behind them, as many as there are.
    RUN = {"}" => /(?:#{SCALAR_SPACE}#{COMMA}#{KEY})*+/, "]" => /(?:#{SCALAR_SPACE}#{COMMA})*+/}.freeze

    # For text that the bus has checked already: where does a value end?
    SCALAR = /"(?:[^"\\]++|\\.)*+"|[-+.0-9A-Za-z]++/m.freeze
    NO_BRACKET = /(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+/m.freeze

    module_function

    # RFC 8259, strictly, and one value alone: what passes can stand within a request. Nothing in it is read twice.
    def valid?(text)
      return false unless text.valid_encoding?

      s = StringScanner.new(text)
      open = [] # how each container that is open will be closed
      s.skip(SPACE)
      loop do
        return false unless read_value(s, open)
        return s.eos? if open.empty?
      end
    end

    # A scalar, or the beginning of a container, and then all that ends with it.
    def read_value(scanner, open)
      scanner.skip(RUN[open.last]) unless open.empty?
      if (closer = OPEN.each_key.find { |c| scanner.skip(OPEN[c]) })
        unless scanner.skip(CLOSE[closer])
          open << closer
          return closer == "]" || scanner.skip(KEY)
        end
      elsif !scanner.skip(SCALAR_SPACE)
        return false
      end
      open.pop while !open.empty? && scanner.skip(CLOSE[open.last])
      open.empty? || (scanner.skip(COMMA) && (open.last == "]" || scanner.skip(KEY)))
    end

    # Splits an object's text at the value of one of its own keys: [what is before, the value's text, what is after], or nil.
    def split(text, key)
      s = StringScanner.new(text)
      s.skip(/\s*\{\s*/) or return nil
      until s.eos?
        name = s.scan(SCALAR) or return nil
        s.skip(/\s*:\s*/) or return nil
        from = s.pos
        skip_value(s) or return nil
        return [text.byteslice(0, from), text.byteslice(from...s.pos), text.byteslice(s.pos..-1)] if name == key

        s.skip(/\s*,\s*/) or return nil
      end
    end

    def skip_value(scanner)
      return scanner.skip(SCALAR) unless scanner.match?(/[\[{]/)

      depth = 0
      loop do
        scanner.skip(NO_BRACKET)
        case scanner.getch
        when "{", "[" then depth += 1
        when "}", "]" then depth -= 1
        else return nil
        end
        return true if depth.zero?
      end
    end
  end
end
