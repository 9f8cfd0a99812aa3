/* SPDX-License-Identifier: Apache-2.0 */
/* Section link: how broker and frontends are linked, and a frontend's end of it. Columns: base/conf.h. */
OPTION("transport", ENUM, transport, RESTART, "nanomsg", "", "", "nanomsg|unix",
    "What carries the link, the same for the broker and all its frontends: nanomsg, or plain AF_UNIX sockets.")
OPTION("credit", BYTES, credit, RESTART, "8MiB", "1MiB", "1GiB", "",
    "How many bytes the broker may have on their way to one frontend before the frontend has taken them.")
OPTION("hello_timeout", TIME, hello_timeout_ms, LIVE, "400ms", "100ms", "1m", "",
    "How long a frontend waits for the broker's answer before it asks again.")
OPTION("attach_timeout", TIME, attach_timeout_ms, LIVE, "1s", "100ms", "1m", "",
    "How long attaching to the link that the broker gave may take.")
OPTION("retry_delay", TIME, retry_delay_ms, LIVE, "50ms", "10ms", "10s", "",
    "The pause before a frontend that lost the broker tries again; it doubles with each failure.")
OPTION("retry_delay_max", TIME, retry_delay_max_ms, LIVE, "100ms", "10ms", "1m", "",
    "The longest such pause.")
#undef OPTION
