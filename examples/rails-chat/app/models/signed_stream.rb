# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

# A stream's name that only this application can have written: who has it may subscribe to it.
module SignedStream
  def self.sign(name)
    ActiveSupport::MessageVerifier.new(Rails.application.secret_key_base, digest: "SHA256", serializer: JSON).generate(name)
  end
end
