# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

# Debian's Rails, and the gem from this checkout. With Bundler this would be `gem "busbar"` in the Gemfile.
$LOAD_PATH.unshift File.expand_path("../../../clients/ruby/lib", __dir__)
