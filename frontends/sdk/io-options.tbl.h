/* SPDX-License-Identifier: Apache-2.0 */
/* Section io: how frontends ask the kernel. Columns: base/conf.h. */
OPTION("client_writes", ENUM, client_writes, RESTART, "send", "", "", "send|io_uring",
    "How clients are written to: by one send() for each, or all that get something at the same time by one call of "
    "io_uring. That takes less of the processor where many read one topic, in a build with liburing and where the "
    "kernel allows it; else send is used, and the log says so.")
#undef OPTION
