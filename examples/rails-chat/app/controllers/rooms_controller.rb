# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

class RoomsController < ApplicationController
  def show
    @room = params[:id]
    head :not_found unless Room.valid?(@room)
  end
end
