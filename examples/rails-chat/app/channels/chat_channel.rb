# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

# As in the Action Cable guide. The names have a slash, so that others can say `chat/#`.
class ChatChannel < ApplicationCable::Channel
  def subscribed
    Room.valid?(params[:room]) ? stream_from(Room.stream(params[:room])) : reject
  end

  def speak(data)
    ActionCable.server.broadcast(Room.stream(params[:room]), data.except("action"))
  end
end
