# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

require_relative "lib/busbar/version"

Gem::Specification.new do |spec|
  spec.name = "busbar"
  spec.version = Busbar::VERSION
  spec.summary = "Client of the Busbar message bus, with an Action Cable subscription adapter"
  spec.description = "Publishes to and subscribes at a Busbar message bus over TCP: thread safe, fork safe, reconnecting, " \
                     "resuming by cursor. `adapter: busbar` in cable.yml sends a Rails application's broadcasts there."
  spec.authors = ["The Busbar developers"]
  spec.license = "Apache-2.0"
  spec.required_ruby_version = ">= 2.7"
  spec.files = Dir.chdir(__dir__) { Dir["lib/**/*.rb"] + ["README.md"] }
  spec.require_paths = ["lib"]
  # Nothing but Ruby's standard library; the adapter is loaded by a Rails application, which has actioncable.
end
