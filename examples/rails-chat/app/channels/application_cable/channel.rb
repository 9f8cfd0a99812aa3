# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

module ApplicationCable
  class Channel < ActionCable::Channel::Base
  end
end
