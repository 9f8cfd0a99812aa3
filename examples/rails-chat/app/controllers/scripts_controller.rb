# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

class ScriptsController < ActionController::Base
  skip_forgery_protection # any page may load this script

  def action_cable
    gem = Gem.loaded_specs["actioncable"]&.full_gem_path || File.expand_path("../..", $LOADED_FEATURES.grep(%r{/lib/action_cable\.rb\z}).first)
    send_file File.join(gem, "app/assets/javascripts/action_cable.js"), type: "text/javascript", disposition: :inline
  end
end
