# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

class MailController < ApplicationController
  def show
    @stream = SignedStream.sign(WebNotificationsChannel.broadcasting_for(current_user))
  end

  def create
    WebNotificationsChannel.broadcast_to(params.require(:to), title: "You have mail", body: "#{current_user} writes: #{params[:body]}")
    redirect_to mail_path
  end
end
