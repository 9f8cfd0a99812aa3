/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of a frontend process as JSON, for the broker, which shows them to everybody. */
#include "config.h"

#include "frontends/sdk/frontendpriv.h"

#include "base/json.h"
#include "frontends/sdk/frontend.h"
#include "frontends/sdk/hub.h"
#include "frontends/sdk/slow.h"
#include "frontends/sdk/uplink.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Resident memory, from the second number of /proc/self/statm; 0 if it cannot be read. */
static uint64_t
stats_rss_bytes(void)
{
    char text[128];
    char *end;
    ssize_t n;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    (void)strtoull(text, &end, 10);
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void
stats_put_number(struct buf *out, const char *name, uint64_t value)
{
    buf_put_str(out, ",\"");
    buf_put_str(out, name);
    buf_put_str(out, "\":");
    buf_put_u64(out, value);
}

void
frontend_put_stats(const struct frontend *fe, uint64_t started_at_ms, struct buf *out)
{
    buf_put_str(out, "{\"name\":");
    json_put_string(out, slice_str(fe->instance));
    buf_put_str(out, ",\"kind\":");
    json_put_string(out, slice_str(fe->kind == NULL ? "" : fe->kind->name));
    stats_put_number(out, "pid", (uint64_t)getpid());
    stats_put_number(out, "uptime_ms", loop_now_ms(fe->loop) - started_at_ms);
    stats_put_number(out, "rss_bytes", stats_rss_bytes());
    stats_put_number(out, "connections", fe->n_conns);
    stats_put_number(out, "subscriptions", hub_n_subs(fe->hub));
    stats_put_number(out, "filters", hub_n_filters(fe->hub));
    stats_put_number(out, "publishes_held", uplink_n_held(fe->uplink));
    stats_put_number(out, "requests_open", hub_n_asks(fe->hub));
    stats_put_number(out, "consumers", hub_n_takers(fe->hub));
    stats_put_number(out, "present", hub_n_present(fe->hub));
#define COUNTER(name, sentence) stats_put_number(out, #name, fe->counters.name);
#include "frontends/sdk/counters.tbl.h"
#undef COUNTER
    slow_put_stats(fe, out);
    buf_put_byte(out, '}');
}
