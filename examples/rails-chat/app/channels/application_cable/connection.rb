# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

module ApplicationCable
  class Connection < ActionCable::Connection::Base
    identified_by :current_user

    def connect
      self.current_user = cookies.signed[:user] || reject_unauthorized_connection
    end
  end
end
