/* SPDX-License-Identifier: Apache-2.0 */
OPTION("match", STRING, match, LIVE, NULL, "1", "100", "a/#", "What it is for.")
OPTION("history.messages", COUNT, history_messages, RESTART, "100", "0", "1000", "", "How many.")
OPTION("history.age", TIME, history_age_ms, LIVE, "1h", "0", "", "", "How long.")
OPTION("publish", BOOL, publish, LIVE, "true", "", "", "", "Whether.")
#undef OPTION
