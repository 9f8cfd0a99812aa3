/* SPDX-License-Identifier: Apache-2.0 */
/* Section up: how `busbar up` runs the other processes. Columns: base/conf.h. */
OPTION("restart_delay", TIME, restart_delay_ms, LIVE, "100ms", "0", "1m", "",
    "The pause before a process that died is started again; it doubles each time.")
OPTION(
    "restart_delay_max", TIME, restart_delay_max_ms, LIVE, "10s", "0", "10m", "", "The longest such pause.")
OPTION("restart_reset", TIME, restart_reset_ms, LIVE, "30s", "1s", "1d", "",
    "A process that ran this long starts again with the short pause.")
OPTION("start_timeout", TIME, start_timeout_ms, LIVE, "15s", "1s", "10m", "",
    "How long a process may take until it is ready before `busbar up` says so.")
OPTION("stop_timeout", TIME, stop_timeout_ms, LIVE, "10s", "100ms", "10m", "",
    "How long a process may take to stop before it is killed.")
#undef OPTION
