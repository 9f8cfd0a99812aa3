# SPDX-License-Identifier: Apache-2.0
"""The Ruby client: clients/ruby/test, against a real bus."""
from tests.clients.rubies import run_minitest

if __name__ == "__main__":
    run_minitest("texts_test.rb", "client_test.rb")
