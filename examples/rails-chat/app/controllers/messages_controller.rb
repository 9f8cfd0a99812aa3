# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

# A form without JavaScript: Rails renders the message and broadcasts it.
class MessagesController < ApplicationController
  def create
    return head :not_found unless Room.valid?(params[:room_id])

    Room.say(params[:room_id], current_user, params.require(:body))
    redirect_back fallback_location: room_path(params[:room_id])
  end
end
