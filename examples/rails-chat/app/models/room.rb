# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

module Room
  # What can be one level of a topic.
  def self.valid?(room)
    room.is_a?(String) && room.match?(%r{\A[^/+#$[:cntrl:]][^/+#[:cntrl:]]{0,99}\z})
  end

  def self.stream(room)
    "chat/#{room}"
  end

  # From anywhere in Ruby: a controller, a job, `rails runner 'Room.say("lobby", "cron", "It is noon.")'`. What is rendered here is
  # text: clients may publish to this topic too, so the page takes no markup from it.
  def self.say(room, sent_by, body)
    text = ApplicationController.render(partial: "messages/message", formats: :text, locals: {body: body}).strip
    ActionCable.server.broadcast(stream(room), {sent_by: sent_by, body: text, by_rails: true})
  end
end
