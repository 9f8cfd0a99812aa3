/* SPDX-License-Identifier: Apache-2.0 */
/* Binds every section; checks across sections. */
#include "config.h"

#include "cli/allconf.h"

#include <errno.h>
#include <string.h>

const struct conf_section *const allconf_sections[] = {&bus_section, &log_section, &link_section,
    &broker_section, &topics_section, &limits_section, &ws_section, &http_section, &tcp_section, &up_section,
    NULL};

static void
bind_all(struct allconf *c, struct conf_bind ret[ALLCONF_N_SECTIONS])
{
    void *into[ALLCONF_N_SECTIONS] = {
        &c->bus, &c->log, &c->link, &c->broker, &c->topics, &c->limits, &c->ws, &c->http, &c->tcp, &c->up};

    for (size_t i = 0; i < ALLCONF_N_SECTIONS; i++)
        ret[i] = (struct conf_bind){allconf_sections[i], into[i]};
}

void
allconf_frontends(const struct allconf *c, struct allconf_frontend ret[ALLCONF_N_FRONTENDS])
{
    ret[0] = (struct allconf_frontend){"ws", c->ws.enabled, &c->ws.listen, (unsigned)c->ws.workers};
    ret[1] = (struct allconf_frontend){"http", c->http.enabled, &c->http.listen, (unsigned)c->http.workers};
    ret[2] = (struct allconf_frontend){"tcp", c->tcp.enabled, &c->tcp.listen, (unsigned)c->tcp.workers};
}

/* Two frontends cannot have one port, unless their addresses differ. */
static bool
listens_collide(const struct conf_address *a, const struct conf_address *b)
{
    if (a->port == 0 || a->port != b->port)
        return false;
    return a->host == NULL || b->host == NULL || strcmp(a->host, b->host) == 0;
}

static void
check_frontends(const struct allconf *c, struct conf_errors *errs)
{
    struct allconf_frontend f[ALLCONF_N_FRONTENDS];

    allconf_frontends(c, f);
    for (size_t i = 0; i < ALLCONF_N_FRONTENDS; i++) {
        if (!f[i].is_enabled)
            continue;
        if (f[i].listen->text == NULL)
            conf_errors_add(errs, "", "%s.listen is empty: give an address, or set %s.enabled to false",
                f[i].name, f[i].name);
        else if (f[i].listen->port == 0 && f[i].workers > 1)
            conf_errors_add(errs, "",
                "%s.listen has port 0, and several %s.workers cannot share any free port", f[i].name,
                f[i].name);
        for (size_t k = 0; k < i; k++) {
            if (f[k].is_enabled && listens_collide(f[i].listen, f[k].listen))
                conf_errors_add(errs, "",
                    "%s.listen and %s.listen are both %s: give one of them another port", f[k].name,
                    f[i].name, f[i].listen->text);
        }
    }
}

static void
check_order(
    struct conf_errors *errs, const char *low_name, uint64_t low, const char *high_name, uint64_t high)
{
    if (low > high)
        conf_errors_add(errs, "", "%s is more than %s", low_name, high_name);
}

static void
check_path(struct conf_errors *errs, const char *name, const char *path)
{
    if (path[0] != '\0' && path[0] != '/')
        conf_errors_add(errs, "", "%s is \"%.100s\": it must begin with /", name, path);
}

static void
check_all(const struct allconf *c, struct conf_errors *errs)
{
    check_frontends(c, errs);
    topic_options_check(&c->topics, errs);
    check_order(
        errs, "link.retry_delay", c->link.retry_delay_ms, "link.retry_delay_max", c->link.retry_delay_max_ms);
    check_order(
        errs, "up.restart_delay", c->up.restart_delay_ms, "up.restart_delay_max", c->up.restart_delay_max_ms);
    check_path(errs, "ws.path", c->ws.path);
    check_path(errs, "ws.raw_path", c->ws.raw_path);
    if (strcmp(c->ws.path, c->ws.raw_path) == 0)
        conf_errors_add(errs, "", "ws.path and ws.raw_path are both %.100s", c->ws.path);
}

int
allconf_load(struct allconf *ret, const struct proc_args *args, struct conf_errors *errs)
{
    struct conf_bind binds[ALLCONF_N_SECTIONS];
    struct conf_request req = {.path = args->config,
        .binds = binds,
        .n_binds = ALLCONF_N_SECTIONS,
        .set = args->set,
        .n_set = args->n_set};

    bind_all(ret, binds);
    int r = conf_load(&req, errs);
    if (r < 0)
        return r;
    check_all(ret, errs);
    for (size_t i = 0; i < errs->n; i++) {
        if (args->config != NULL)
            (void)snprintf(errs->at[i].file, sizeof errs->at[i].file, "%s", args->config);
    }
    if (errs->n == 0)
        return 0;
    conf_free(binds, ALLCONF_N_SECTIONS);
    return -EINVAL;
}

void
allconf_free(struct allconf *conf)
{
    struct conf_bind binds[ALLCONF_N_SECTIONS];

    bind_all(conf, binds);
    conf_free(binds, ALLCONF_N_SECTIONS);
}

size_t
allconf_diff(struct allconf *old, struct allconf *new, struct buf *ret_names)
{
    struct conf_bind a[ALLCONF_N_SECTIONS], b[ALLCONF_N_SECTIONS];
    size_t n = 0;

    bind_all(old, a);
    bind_all(new, b);
    for (size_t i = 0; i < ALLCONF_N_SECTIONS; i++)
        n += conf_diff(a[i].section, a[i].into, b[i].into, ret_names);
    return n;
}
