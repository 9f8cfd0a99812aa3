# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

# Each user's own. Here Rails knows by the cookie who it is; for browsers that connect to the bus, the page has the stream's name
# signed: SignedStream.
class WebNotificationsChannel < ApplicationCable::Channel
  def subscribed
    stream_for current_user
  end
end
