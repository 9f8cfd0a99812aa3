/* SPDX-License-Identifier: Apache-2.0 */
/* HELLO: see hello.h. */
#include "config.h"

#include "broker/hello.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memguard.h"
#include "base/rand.h"
#include "base/utf8.h"
#include "broker/broker.h"
#include "broker/links.h"
#include "broker/queue.h"
#include "wire/errors.h"
#include "wire/link.h"
#include "wire/names.h"

#define TEXT_OF(number) TEXT_OF_WORD(number)
#define TEXT_OF_WORD(word) #word

/* The text of REFUSED for what this end cannot put into the sentence of a code. */
static void
refuse(struct broker *broker, const struct frame_hello *hello, enum error_code code, const char *message,
    struct frame *ret)
{
    broker->counters.refused++;
    log_warn("no link for %.*s: %s", (int)(hello->name.n < PEER_NAME_MAX ? hello->name.n : PEER_NAME_MAX),
        (const char *)hello->name.p, message);
    ret->type = FRAME_REFUSED;
    ret->refused =
        (struct frame_refused){.code = slice_str(error_code_name(code)), .message = slice_str(message)};
}

/* The name stands in topics ($sys/links/NAME) and in logs. */
static bool
name_is_valid(struct slice name)
{
    if (name.n == 0 || name.n > PEER_NAME_MAX || name.p[0] == '.')
        return false;
    for (size_t i = 0; i < name.n; i++) {
        uint8_t c = name.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                c == '_' || c == '-'))
            return false;
    }
    return true;
}

static void
welcome(struct broker *broker, const struct peer *peer, struct frame *ret)
{
    (void)snprintf(broker->url, sizeof(broker->url), LINK_URL_SCHEME "%s", peer->path);
    ret->type = FRAME_WELCOME;
    ret->welcome = (struct frame_welcome){
        .proto = LINK_PROTO,
        .session = peer->session,
        .token = slice_of(broker->token, sizeof(broker->token)),
        .url = slice_str(broker->url),
        .epoch = broker->store_ops->epoch(broker->store),
        .credit = broker->options.link_credit,
        .heartbeat_ms = broker->options.heartbeat_ms,
        .max_message = broker->options.max_message,
    };
}

static void
hello_on_request(const struct frame_hello *hello, struct frame *ret, void *arg)
{
    struct broker *broker = arg;
    struct peer *peer;
    int r;

    if (broker->served_ms == 0) {
        broker->served_ms = loop_now_ms(broker->loop);
        queues_on_served(broker);
    }
    if (hello->proto != LINK_PROTO) {
        refuse(broker, hello, ERROR_VERSION_UNSUPPORTED,
            "The broker speaks version " TEXT_OF(LINK_PROTO) " of the link's protocol.", ret);
        return;
    }
    if (!name_is_valid(hello->name) || hello->boot == 0) {
        refuse(broker, hello, ERROR_REQUEST_INVALID,
            "A frontend's name is 1 to 64 letters, digits, dots, dashes, underscores, and its boot is not 0.",
            ret);
        return;
    }
    if (broker->is_stopping) {
        refuse(broker, hello, ERROR_SHUTTING_DOWN, "The broker is stopping.", ret);
        return;
    }
    if (memguard_is_tight(broker->memory)) {
        broker->counters.refused_memory++;
        refuse(broker, hello, ERROR_LIMIT_REACHED, "The broker's memory is nearly used up.", ret);
        return;
    }
    rand_bytes(broker->token, sizeof(broker->token));
    r = links_add(broker, hello, broker->token, &peer);
    if (r == -ENOSPC) {
        refuse(broker, hello, ERROR_LIMIT_REACHED, "There are too many frontends (broker.links_max).", ret);
        return;
    }
    if (r < 0) {
        log_error("a link could not be opened: %s", strerror(-r));
        refuse(broker, hello, ERROR_INTERNAL, "The broker could not open a link; its log says why.", ret);
        return;
    }
    welcome(broker, peer, ret);
}

int
hello_serve(struct broker *broker)
{
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET_NAME, broker->runtime_dir);
    return control_serve(broker->loop, broker->transport, path, hello_on_request, broker, &broker->control);
}

void
hello_stop(struct broker *broker)
{
    broker->control = control_close(broker->control);
}
