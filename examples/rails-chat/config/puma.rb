# frozen_string_literal: true
# SPDX-License-Identifier: Apache-2.0

# A cluster that loads the application before it forks: each worker has its own connection to the bus.
bind "tcp://127.0.0.1:#{ENV.fetch('RAILS_PORT', '3000')}"
environment "production"
workers 2
threads 1, 5
preload_app!
quiet
