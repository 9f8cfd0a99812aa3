#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The broker's tests once more, with a store that answers later (latebroker.c).
test -x "$BUSBAR_BUILD/tests/unit/broker/test-broker" || { echo "test-broker was not built: Check is missing"; exit 77; }
export BUSBAR_TEST_LATE=yes BUSBAR_TEST_BROKER=tests/unit/broker/latebroker
for suite in presence broker-recovery broker-rules broker queue-dead; do
    "$BUSBAR_BUILD/tests/unit/broker/test-$suite" || exit 1
done
