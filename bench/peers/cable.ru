# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

# Rails' own Action Cable server as the generator's protocol `cable` meets it, without the rest of Rails before it. CABLE: the
# settings of cable.yml, as JSON.
require "json"
require "logger"
require "active_support/all"
require "action_cable"

class Connection < ActionCable::Connection::Base
end

class BenchChannel < ActionCable::Channel::Base
  def subscribed
    stream_from stream
  end

  def speak(data)
    ActionCable.server.broadcast(stream, data.except("action"))
  end

  private

  def stream
    "bench/#{params[:room]}"
  end
end

config = ActionCable::Server::Base.config
config.cable = JSON.parse(ENV.fetch("CABLE")).with_indifferent_access
config.connection_class = -> { Connection }
config.disable_request_forgery_protection = true
config.logger = Logger.new($stderr, level: Logger::ERROR)

map("/cable") { run ActionCable.server }
