# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

require "action_cable/subscription_adapter/base"
require "busbar"

module ActionCable
  module SubscriptionAdapter
    # Action Cable's broadcasts by way of a Busbar message bus. In config/cable.yml:
    #
    #     production:
    #       adapter: busbar
    #       url: busbar://127.0.0.1:7070
    #       channel_prefix: myapp      # optional: the stream chat_1 is then the topic myapp:chat_1
    #
    # A stream's name is its topic, unchanged, behind the prefix if there is one. What is broadcast is on the bus, in the order of
    # the broadcasts, when `broadcast` returns. What is published to the topic by anybody else reaches the channels of this
    # process too: JSON as it is, text and bytes as a JSON string (bytes in base64).
    class Busbar < Base
      # What Rails puts into the configuration beside ours.
      OF_RAILS = %i[adapter id].freeze
      OPTIONS = ::Busbar::Client::DEFAULTS.keys.freeze
      # Marks a payload that was broadcast without a coder and is no JSON: it is handed to channels as it is.
      RAW = "action-cable-raw"

      def initialize(*)
        super
        @settings = settings
        @prefix = @settings.delete(:channel_prefix).to_s
        @prefix += ":" unless @prefix.empty? || @prefix.end_with?("/")
        @client = ::Busbar::Client.new(@settings.delete(:url) || "busbar://127.0.0.1:#{::Busbar::Client::PORT}", logger: logger, **@settings)
        @streams = Streams.new(@client, logger)
      end

      # Returns when the bus has the message. Raises Busbar::InvalidTopic for a name that is no topic, Busbar::TimeoutError and
      # Busbar::Refused as Busbar::Client#publish does.
      def broadcast(channel, payload)
        topic = topic_of(channel)
        text = ::Busbar::Names.utf8(payload)
        if ::Busbar::JSONText.valid?(text)
          @client.publish(topic, json: text)
        else
          @client.publish(topic, text.valid_encoding? ? text : payload.b, headers: {RAW => "true"})
        end
        nil
      end

      # success_callback is called when the bus has confirmed, not before: what is broadcast from then on arrives.
      def subscribe(channel, callback, success_callback = nil)
        @streams.add(topic_of(channel), callback, success_callback)
      rescue ::Busbar::InvalidTopic => e
        logger&.error("busbar: #{e.message}") # Rails calls this in a thread whose errors nobody reads
        raise
      end

      def unsubscribe(channel, callback)
        @streams.remove(topic_of(channel), callback)
      rescue ::Busbar::InvalidTopic
        nil # it was refused when it was subscribed
      end

      def shutdown
        @client.close(wait: 1)
      end

      private

      def topic_of(channel)
        ::Busbar::Names.topic("#{@prefix}#{channel}")
      end

      # Base keeps the configuration in `server` up to Rails 8.1, in `config` from then on.
      def settings
        cable = respond_to?(:server) ? server.config.cable : config.cable
        given = cable.to_h.transform_keys(&:to_sym).except(*OF_RAILS)
        unknown = given.keys - OPTIONS - %i[url channel_prefix]
        if unknown.any?
          raise ArgumentError, "config/cable.yml: no such option of the adapter busbar: #{unknown.join(', ')}; " \
                               "there are url, channel_prefix, #{OPTIONS.join(', ')}"
        end
        given
      end

      # The channels of this process that stream from a topic share one subscription at the bus.
      class Streams # :nodoc:
        Stream = Struct.new(:subscription, :callbacks, :waiting, :is_confirmed)

        def initialize(client, logger)
          @client = client
          @logger = logger
          begin_process
        end

        def add(topic, callback, on_success)
          begin_process if @pid != Process.pid
          is_confirmed = @mutex.synchronize do
            stream = @streams[topic] ||= open(topic)
            stream.callbacks << callback
            stream.waiting << on_success if on_success && !stream.is_confirmed
            stream.is_confirmed
          end
          on_success&.call if is_confirmed
        end

        def remove(topic, callback)
          gone = @mutex.synchronize do
            stream = @streams[topic] or next
            at = stream.callbacks.index(callback) or next
            stream.callbacks.delete_at(at)
            @streams.delete(topic) if stream.callbacks.empty?
          end
          gone&.subscription&.cancel
        end

        private

        # The channels that streamed before a fork are the parent's.
        def begin_process
          @mutex = Mutex.new
          @streams = {}
          @pid = Process.pid
        end

        def open(topic)
          stream = Stream.new(nil, [], [], false)
          stream.subscription = @client.subscribe(topic, on_state: ->(state) { told(stream, topic, state) },
                                                         on_error: ->(error) { refused(stream, topic, error) }) do |message|
            deliver(stream, message)
          end
          stream
        end

        # The callbacks do no more than hand the message to Rails' worker pool, so they are called here, in order.
        def deliver(stream, message)
          return if message.retained? # it is not new, and later subscribers would not get it

          payload = payload_of(message)
          @mutex.synchronize { stream.callbacks.dup }.each { |callback| guarded { callback.call(payload) } }
        end

        def payload_of(message)
          return message.payload if message.kind == :json || message.headers.key?(RAW)

          JSON.generate(message.kind == :text ? message.payload : [message.payload].pack("m0"))
        end

        def told(stream, topic, state)
          @logger&.warn("busbar: messages of the stream #{topic} are missing: #{state.state}") if %i[gap reset dropped].include?(state.state)
          waiting = @mutex.synchronize do
            stream.is_confirmed = true
            stream.waiting.slice!(0..)
          end
          waiting.each { |on_success| guarded(&on_success) }
        end

        # Its channels are never confirmed; the next one to stream from it asks again.
        def refused(stream, topic, error)
          @logger&.error("busbar: the bus refuses the stream #{topic}: #{error.code}: #{error.message}")
          @mutex.synchronize { @streams.delete(topic) if @streams[topic].equal?(stream) }
        end

        # One channel's fault is not another's.
        def guarded
          yield
        rescue StandardError => e
          @logger&.error("busbar: a channel failed: #{e.full_message(highlight: false)}")
        end
      end
    end
  end
end
