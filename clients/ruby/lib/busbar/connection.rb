# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

require "io/wait"
require "socket"

module Busbar
  # One TCP connection: lines out, lines in. Used by the client's reader thread alone.
  class Connection # :nodoc:
    # It is over; the message says why.
    class Lost < StandardError; end

    MAX_LINE = 1 << 28 # a server that sends more without a newline is none of ours
    CHUNK = 1 << 16

    def initialize(host, port, timeout)
      @socket = Socket.tcp(host, port, connect_timeout: timeout, resolv_timeout: timeout)
      @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      @socket.setsockopt(Socket::SOL_SOCKET, Socket::SO_KEEPALIVE, 1)
      @in = String.new(encoding: Encoding::BINARY)
      @out = String.new(encoding: Encoding::BINARY)
      @chunk = String.new(encoding: Encoding::BINARY)
      @n_seen = 0
    rescue SystemCallError, SocketError, IOError => e
      raise Lost, e.message
    end

    def close
      @socket.close
    rescue IOError, SystemCallError
      nil
    end

    def write(line)
      @out << line
    end

    # Writes what the other side takes, waits until there is something to read, `wakeup` is readable or the time is up, and gives
    # the lines that have come.
    def turn(wakeup, seconds)
      flush
      ready, = IO.select([@socket, wakeup], @out.empty? ? nil : [@socket], nil, seconds)
      return [] unless ready&.include?(@socket)

      read
      lines
    rescue SystemCallError, IOError => e
      raise Lost, e.message
    end

    private

    def flush
      until @out.empty?
        n = @socket.write_nonblock(@out, exception: false)
        break if n == :wait_writable

        n == @out.bytesize ? @out.clear : @out = @out.byteslice(n..-1)
      end
    end

    def read
      case @socket.read_nonblock(CHUNK, @chunk, exception: false)
      when :wait_readable then nil
      when nil then raise Lost, "the server has closed it"
      else @in << @chunk
      end
      raise Lost, "a line of more than #{MAX_LINE} bytes" if @in.bytesize > MAX_LINE
    end

    def lines
      found = []
      from = 0
      while (at = @in.index("\n", [@n_seen, from].max))
        found << @in.byteslice(from...at).force_encoding(Encoding::UTF_8)
        from = at + 1
      end
      @in = @in.byteslice(from..-1) if from.positive?
      @n_seen = @in.bytesize
      found
    end
  end
end
