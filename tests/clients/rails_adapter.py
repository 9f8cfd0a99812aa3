# SPDX-License-Identifier: Apache-2.0
"""The Action Cable subscription adapter with the Action Cable that is installed, against a real bus."""
from tests.clients.rubies import run_minitest

if __name__ == "__main__":
    run_minitest("adapter_test.rb", libraries=("action_cable",))
