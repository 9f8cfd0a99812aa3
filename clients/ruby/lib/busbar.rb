# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

# The Ruby client of Busbar. Busbar::Client is where to start reading; the protocol is docs/protocol.md.
module Busbar
end

require "busbar/version"
require "busbar/errors"
require "busbar/names"
require "busbar/json_text"
require "busbar/message"
require "busbar/publication"
require "busbar/subscription"
require "busbar/callbacks"
require "busbar/connection"
require "busbar/client"
