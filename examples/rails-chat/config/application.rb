# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

require_relative "boot"
require "rails"
require "action_controller/railtie"
require "action_view/railtie"
require "action_cable/engine"

module RailsChat
  class Application < Rails::Application
    config.load_defaults 6.1
    config.cache_classes = true
    config.eager_load = true
    config.public_file_server.enabled = true
    config.logger = ActiveSupport::TaggedLogging.new(Logger.new($stderr))
    config.log_level = ENV.fetch("RAILS_LOG_LEVEL", "warn").to_sym
    # `run` makes one for Rails and the bus: the bus verifies the stream names that Rails signs.
    config.secret_key_base = ENV.fetch("SECRET_KEY_BASE") { SecureRandom.hex(64) }

    # Where the bus is, for browsers. The host is that of the page.
    config.x.bus.ws_port = Integer(ENV.fetch("WS_PORT", "8081"))
    config.x.bus.http_port = Integer(ENV.fetch("HTTP_PORT", "8080"))
  end
end
