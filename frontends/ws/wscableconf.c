/* SPDX-License-Identifier: Apache-2.0 */
/* What all Action Cable connections share. */
#include "config.h"

#include "frontends/ws/wscable.h"

#include <errno.h>

#include "base/log.h"
#include "base/secret.h"
#include "frontends/dialects/actioncable/acsigned.h"
#include "frontends/sdk/jwt.h"
#include "frontends/ws/options.h"
#include "frontends/ws/wsconn.h"
#include "frontends/ws/wsserver.h"

static void
on_ping(struct list *member)
{
    struct wscable *cable = list_entry(member, struct wscable, in_slot);

    wscable_on_ping(cable->conn);
}

/* What is not given is made from Rails' secret, if that is. */
static int
derive_turbo_secret(const struct cable_options *options, struct slice rails, struct buf *ret)
{
    uint8_t derived[ACSIGNED_TURBO_SECRET_SIZE];

    if (acsigned_turbo_secret(rails, options->rails_digest == CABLE_RAILS_SHA1, derived) < 0) {
        log_error("cable.rails_secret: no key could be derived from it");
        return -EIO;
    }
    buf_put(ret, derived, sizeof derived);
    explicit_bzero(derived, sizeof derived);
    return buf_failed(ret) ? -ENOMEM : 0;
}

static int
load_secrets(const struct cable_options *options, struct buf *ret_streams, struct buf *ret_turbo)
{
    struct buf streams, turbo, rails;
    int r;

    buf_init(&turbo, 0);
    buf_init(&rails, 0);
    r = secret_load(
        options->streams_secret_file, options->streams_secret_env, "cable.streams_secret", &streams);
    if (r == 0)
        r = secret_load(options->turbo_secret_file, options->turbo_secret_env, "cable.turbo_secret", &turbo);
    if (r == 0)
        r = secret_load(options->rails_secret_file, options->rails_secret_env, "cable.rails_secret", &rails);
    if (r == 0 && rails.n > 0 && turbo.n == 0)
        r = derive_turbo_secret(options, buf_slice(&rails), &turbo);
    if (r == 0 && rails.n > 0 && streams.n == 0)
        buf_put_slice(&streams, buf_slice(&rails));
    if (r == 0 && buf_failed(&streams))
        r = -ENOMEM;
    secret_fini(&rails);
    if (r < 0) {
        secret_fini(&streams);
        secret_fini(&turbo);
        return r;
    }
    *ret_streams = streams;
    *ret_turbo = turbo;
    return 0;
}

/* 0 with NULL if there is no key. */
static int
load_jwt_key(const struct jwt_options *options, struct jwt_key **ret)
{
    const char *error = "memory ran out";
    struct buf material;
    int r;

    *ret = NULL;
    r = secret_load(options->key_file, options->key_env, "jwt.key", &material);
    if (r < 0)
        return r;
    if (material.n > 0)
        r = jwt_key_new((enum jwt_algorithm)options->algorithm, buf_slice(&material), ret, &error);
    if (r < 0)
        log_error("jwt.key_file, jwt.key_env: %s", error);
    secret_fini(&material);
    return r;
}

static void
set_options(struct wscables *all, const struct wsserver_config *config)
{
    const struct cable_options *options = &config->cable;

    all->options = options;
    all->jwt = &config->jwt;
    wscable_store_limit(&all->store, options->sessions, options->sessions_bytes, options->session_time_ms);
    all->channels = (struct acchannels){.items = &config->channels,
        .streams_secret = buf_slice(&all->streams_secret),
        .turbo_secret = buf_slice(&all->turbo_secret),
        .has_public_streams = options->public_streams,
        .has_whispers = options->whisper,
        .has_presence = options->presence};
}

int
wscables_init(struct wscables *all, struct frontend *fe, const struct wsserver_config *config)
{
    int r;

    all->fe = fe;
    buf_init(&all->command, 0);
    buf_init(&all->action, 0);
    buf_init(&all->resolved, 0);
    buf_init(&all->text, 0);
    wscable_store_init(&all->store, fe->loop);
    wscable_pings_init(&all->pings, fe->loop, config->cable.ping_interval_ms, on_ping);
    r = load_secrets(&config->cable, &all->streams_secret, &all->turbo_secret);
    if (r == 0)
        r = load_jwt_key(&config->jwt, &all->jwt_key);
    if (r < 0)
        return r;
    set_options(all, config);
    return wscable_remote_begin(all) ? 0 : -ENOMEM;
}

void
wscables_reload(struct wscables *all, const struct wsserver_config *config)
{
    struct buf streams, turbo;
    struct jwt_key *key;

    if (load_secrets(&config->cable, &streams, &turbo) == 0) {
        secret_fini(&all->streams_secret);
        secret_fini(&all->turbo_secret);
        all->streams_secret = streams;
        all->turbo_secret = turbo;
    } else {
        log_warn("the secrets of Action Cable stay as they were");
    }
    if (load_jwt_key(&config->jwt, &key) == 0) {
        jwt_key_free(all->jwt_key);
        all->jwt_key = key;
    } else {
        log_warn("the key for tokens stays as it was");
    }
    set_options(all, config);
    if (!wscable_remote_begin(all))
        log_error("no memory to listen on action_cable/#");
    wscable_pings_set_interval(&all->pings, config->cable.ping_interval_ms);
}

void
wscables_fini(struct wscables *all)
{
    if (all->fe == NULL)
        return;
    wscable_remote_end(all);
    wscable_pings_fini(&all->pings);
    wscable_store_fini(&all->store);
    secret_fini(&all->streams_secret);
    secret_fini(&all->turbo_secret);
    all->jwt_key = jwt_key_free(all->jwt_key);
    buf_fini(&all->command);
    buf_fini(&all->action);
    buf_fini(&all->resolved);
    buf_fini(&all->text);
}
