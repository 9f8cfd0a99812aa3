/* SPDX-License-Identifier: Apache-2.0 */
/* Binds every section; checks across sections. */
#include "config.h"

#include "cli/allconf.h"

#include <errno.h>
#include <string.h>

const struct conf_section *const allconf_sections[] = {&bus_section, &log_section, &link_section,
    &broker_section, &store_section, &topics_section, &limits_section, &io_section, &ws_section, &jwt_section,
    &cable_section, &channels_section, &http_section, &tcp_section, &up_section, NULL};

static void
bind_all(struct allconf *c, struct conf_bind ret[ALLCONF_N_SECTIONS])
{
    void *into[ALLCONF_N_SECTIONS] = {&c->bus, &c->log, &c->link, &c->broker, &c->store, &c->topics,
        &c->limits, &c->io, &c->ws, &c->jwt, &c->cable, &c->channels, &c->http, &c->tcp, &c->up};

    for (size_t i = 0; i < ALLCONF_N_SECTIONS; i++)
        ret[i] = (struct conf_bind){allconf_sections[i], into[i]};
}

const char *const allconf_listens[ALLCONF_N_LISTENS] = {"listen", "tls.listen"};

void
allconf_frontends(const struct allconf *c, struct allconf_frontend ret[ALLCONF_N_FRONTENDS])
{
    ret[0] = (struct allconf_frontend){
        "ws", c->ws.enabled, {&c->ws.listen, &c->ws.tls.listen}, &c->ws.tls, (unsigned)c->ws.workers};
    ret[1] = (struct allconf_frontend){"http", c->http.enabled, {&c->http.listen, &c->http.tls.listen},
        &c->http.tls, (unsigned)c->http.workers};
    ret[2] = (struct allconf_frontend){
        "tcp", c->tcp.enabled, {&c->tcp.listen, &c->tcp.tls.listen}, &c->tcp.tls, (unsigned)c->tcp.workers};
}

/* Two frontends cannot have one port, unless their addresses differ. */
static bool
listens_collide(const struct conf_address *a, const struct conf_address *b)
{
    if (a->text == NULL || b->text == NULL || a->port == 0 || a->port != b->port)
        return false;
    return a->host == NULL || b->host == NULL || strcmp(a->host, b->host) == 0;
}

static const struct conf_section *const frontend_sections[ALLCONF_N_FRONTENDS] = {
    &ws_section, &http_section, &tcp_section};

/* Two options that do not go together: the blame is on the one that was given. */
static void
note_pair(struct conf_check *check, const struct conf_section *a, const char *a_name,
    const struct conf_section *b, const char *b_name, const char *what)
{
    if (conf_check_is_given(check, a, 0, a_name) || !conf_check_is_given(check, b, 0, b_name))
        conf_check_note(check, a, 0, a_name, "does not go with %s.%s: %s", b->name, b_name, what);
    else
        conf_check_note(check, b, 0, b_name, "does not go with %s.%s: %s", a->name, a_name, what);
}

/* With those that were looked at before: the same frontend's other one, and those of the frontends before. */
static void
check_collisions(struct conf_check *check, const struct allconf_frontend *f, size_t i, size_t l)
{
    for (size_t k = 0; k <= i; k++) {
        for (size_t m = 0; m < (k < i ? ALLCONF_N_LISTENS : l); m++) {
            if (f[k].is_enabled && listens_collide(f[i].listen[l], f[k].listen[m]))
                note_pair(check, frontend_sections[i], allconf_listens[l], frontend_sections[k],
                    allconf_listens[m], "both have one port; give one of them another");
        }
    }
}

static void
check_frontends(struct conf_check *check, const struct allconf *c)
{
    struct allconf_frontend f[ALLCONF_N_FRONTENDS];

    allconf_frontends(c, f);
    for (size_t i = 0; i < ALLCONF_N_FRONTENDS; i++) {
        const struct conf_section *section = frontend_sections[i];

        if (!f[i].is_enabled)
            continue;
        if (f[i].listen[0]->text == NULL && f[i].listen[1]->text == NULL)
            conf_check_note(check, section, 0, allconf_listens[0],
                "is empty: give an address, or set %s.enabled to false", f[i].name);
        for (size_t l = 0; l < ALLCONF_N_LISTENS; l++) {
            if (f[i].listen[l]->text != NULL && f[i].listen[l]->port == 0 && f[i].workers > 1)
                conf_check_note(check, section, 0, allconf_listens[l],
                    "has port 0, and several %s.workers cannot share any free port", f[i].name);
            check_collisions(check, f, i, l);
        }
    }
}

static void
check_files(struct conf_check *check, const struct allconf *c)
{
    struct allconf_frontend f[ALLCONF_N_FRONTENDS];

    allconf_frontends(c, f);
    for (size_t i = 0; i < ALLCONF_N_FRONTENDS; i++) {
        if (f[i].is_enabled)
            tls_options_check(check, frontend_sections[i], f[i].tls);
    }
}

static void
check_path(struct conf_check *check, const struct conf_section *section, const char *name, const char *path)
{
    if (path[0] != '\0' && path[0] != '/')
        conf_check_note(check, section, 0, name, "\"%.100s\" must begin with /", path);
}

/* Three addresses of one listener. */
static void
check_paths(struct conf_check *check, const struct allconf *c)
{
    check_path(check, &ws_section, "path", c->ws.path);
    check_path(check, &ws_section, "raw_path", c->ws.raw_path);
    check_path(check, &cable_section, "path", c->cable.path);
    if (strcmp(c->ws.path, c->ws.raw_path) == 0)
        note_pair(check, &ws_section, "path", &ws_section, "raw_path", "they must be two addresses");
    if (strcmp(c->ws.path, c->cable.path) == 0)
        note_pair(check, &ws_section, "path", &cable_section, "path", "they must be two addresses");
    if (c->cable.path[0] != '\0' && strcmp(c->ws.raw_path, c->cable.path) == 0)
        note_pair(check, &ws_section, "raw_path", &cable_section, "path", "they must be two addresses");
}

/* A secret in a file and in the environment: which? */
static void
check_secret(
    struct conf_check *check, const char *file, const char *env, const char *file_name, const char *env_name)
{
    if (file[0] != '\0' && env[0] != '\0')
        note_pair(check, &cable_section, file_name, &cable_section, env_name, "name one of them");
}

static void
check_jwt(struct conf_check *check, const struct allconf *c)
{
    if (c->jwt.key_file[0] != '\0' && c->jwt.key_env[0] != '\0')
        note_pair(check, &jwt_section, "key_file", &jwt_section, "key_env", "name one of them");
}

static void
check_cable(struct conf_check *check, const struct allconf *c)
{
    const struct cable_options *o = &c->cable;
    const char *error = o->identified_by[0] == '\0' ? NULL : channel_options_name_error(o->identified_by);

    channel_options_check(check, &c->channels);
    if (error != NULL)
        conf_check_note(check, &cable_section, 0, "identified_by", "\"%.100s\" gives no name: %s",
            o->identified_by, error);
    check_secret(
        check, o->streams_secret_file, o->streams_secret_env, "streams_secret_file", "streams_secret_env");
    check_secret(check, o->turbo_secret_file, o->turbo_secret_env, "turbo_secret_file", "turbo_secret_env");
    check_secret(check, o->rails_secret_file, o->rails_secret_env, "rails_secret_file", "rails_secret_env");
}

/* What a browser sends as Origin: a scheme and a host, perhaps a port, and nothing after them. */
static bool
is_origin(const char *text)
{
    const char *host = strstr(text, "://");

    return strcmp(text, "*") == 0 ||
           (host != NULL && host > text && host[3] != '\0' && strpbrk(host + 3, "/?# ") == NULL);
}

static void
check_origins(struct conf_check *check, const struct conf_section *section, const char *name,
    const struct conf_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        if (!is_origin(list->items[i]))
            conf_check_note(check, section, 0, name,
                "\"%.100s\" is no web site: scheme://host or scheme://host:port, without a path, or *",
                list->items[i]);
    }
}

static void
check_all(struct conf_check *check, void *arg)
{
    struct allconf *c = arg;

    topic_options_check(check, &c->topics);
    check_frontends(check, c);
    if (c->link.retry_delay_ms > c->link.retry_delay_max_ms)
        note_pair(check, &link_section, "retry_delay", &link_section, "retry_delay_max",
            "the longest is the shorter");
    if (c->up.restart_delay_ms > c->up.restart_delay_max_ms)
        note_pair(check, &up_section, "restart_delay", &up_section, "restart_delay_max",
            "the longest is the shorter");
    check_paths(check, c);
    check_jwt(check, c);
    check_cable(check, c);
    check_origins(check, &ws_section, "origins", &c->ws.origins);
    check_origins(check, &http_section, "cors_origins", &c->http.cors_origins);
    http_options_check(check, &c->http);
}

static void
check_all_with_files(struct conf_check *check, void *arg)
{
    check_all(check, arg);
    check_files(check, arg);
}

static int
load_checked(struct allconf *ret, const struct proc_args *args, struct conf_errors *errs,
    void (*check)(struct conf_check *check, void *arg))
{
    struct conf_bind binds[ALLCONF_N_SECTIONS];
    struct conf_request req = {.path = args->config,
        .binds = binds,
        .n_binds = ALLCONF_N_SECTIONS,
        .set = args->set,
        .n_set = args->n_set,
        .check = check,
        .check_arg = ret};

    bind_all(ret, binds);
    return conf_load(&req, errs);
}

int
allconf_load(struct allconf *ret, const struct proc_args *args, struct conf_errors *errs)
{
    return load_checked(ret, args, errs, check_all);
}

int
allconf_load_to_run(struct allconf *ret, const struct proc_args *args, struct conf_errors *errs)
{
    return load_checked(ret, args, errs, check_all_with_files);
}

void
allconf_free(struct allconf *conf)
{
    struct conf_bind binds[ALLCONF_N_SECTIONS];

    bind_all(conf, binds);
    conf_free(binds, ALLCONF_N_SECTIONS);
}

bool
allconf_has_default_dir(const struct allconf *conf)
{
    for (size_t i = 0; i < bus_section.n_rows; i++) {
        if (strcmp(bus_section.rows[i].name, "runtime_dir") == 0)
            return strcmp(bus_section.rows[i].def, conf->bus.runtime_dir) == 0;
    }
    return false;
}

bool
allconf_has_default_store(const struct allconf *conf)
{
    for (size_t i = 0; i < store_section.n_rows; i++) {
        if (strcmp(store_section.rows[i].name, "path") == 0)
            return strcmp(store_section.rows[i].def, conf->store.path) == 0;
    }
    return false;
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
