# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

class ApplicationController < ActionController::Base
  before_action { cookies.signed[:user] = {value: current_user, httponly: true} }
  helper_method :current_user, :cable_url, :history_url

  private

  # There are no passwords here: you are who you say (?as=ann), or a guest.
  def current_user
    @current_user ||= (params[:as].presence || cookies.signed[:user] || "guest#{rand(1000)}").to_s.gsub(/[^\p{Alnum}_-]/, "")[0, 40]
  end

  # Where the page's Action Cable client connects: the bus, or with ?via=rails this process.
  def cable_url
    return "/cable" if params[:via] == "rails"

    "ws://#{request.host}:#{Rails.configuration.x.bus.ws_port}/cable"
  end

  # What was said before: the bus has it.
  def history_url(stream)
    "http://#{request.host}:#{Rails.configuration.x.bus.http_port}/topics/#{ERB::Util.url_encode(stream)}?last=20"
  end
end
