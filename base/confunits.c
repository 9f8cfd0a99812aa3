/* SPDX-License-Identifier: Apache-2.0 */
/* The scalars of the config file: whole numbers, times, sizes, truth, addresses. Nothing is guessed. */
#include "config.h"

#include "base/conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit time_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000}, {NULL, 0}};

static const struct unit byte_units[] = {{"", 1}, {"B", 1}, {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20}, {"GiB", UINT64_C(1) << 30}, {"TiB", UINT64_C(1) << 40}, {"kB", 1000},
    {"KB", 1000}, {"MB", 1000 * 1000}, {"GB", 1000 * 1000 * 1000}, {"TB", UINT64_C(1000000000000)},
    {NULL, 0}};

static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

/* Decimal digits, one optional space, a unit of the list. */
static int
parse_number(const char *text, const struct unit *units, uint64_t *ret)
{
    const char *p = text;
    uint64_t v = 0;
    bool is_over = false;

    if (*p < '0' || *p > '9')
        return -EINVAL;
    for (; *p >= '0' && *p <= '9'; p++)
        is_over |= __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v);
    if (*p == ' ' && p[1] != '\0')
        p++;
    for (; units->name != NULL; units++) {
        if (strcmp(p, units->name) != 0)
            continue;
        if (is_over || __builtin_mul_overflow(v, units->factor, &v))
            return -ERANGE;
        *ret = v;
        return 0;
    }
    return -EINVAL;
}

int
conf_parse_time(const char *text, uint64_t *ret_ms)
{
    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return 0;
    }
    return parse_number(text, time_units, ret_ms);
}

int
conf_parse_bytes(const char *text, uint64_t *ret)
{
    return parse_number(text, byte_units, ret);
}

int
conf_parse_count(const char *text, uint64_t *ret)
{
    return parse_number(text, no_units, ret);
}

int
conf_parse_bool(const char *text, bool *ret)
{
    static const char *const names[][2] = {{"false", "true"}, {"no", "yes"}, {"off", "on"}};

    for (size_t i = 0; i < 3; i++) {
        for (int v = 0; v < 2; v++) {
            if (strcmp(text, names[i][v]) != 0)
                continue;
            *ret = v != 0;
            return 0;
        }
    }
    return -EINVAL;
}

static int
check_host(const char *host, size_t n, bool is_bracketed)
{
    char copy[256];
    struct in6_addr v6;

    if (n == 0 || n >= sizeof copy)
        return -EINVAL;
    memcpy(copy, host, n);
    copy[n] = '\0';
    if (is_bracketed) {
        char *zone = strchr(copy, '%'); /* [fe80::1%eth0] */
        if (zone != NULL)
            *zone = '\0';
        return inet_pton(AF_INET6, copy, &v6) == 1 ? 0 : -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)copy[i] | 0x20;
        if (!((c >= 'a' && c <= 'z') || (copy[i] >= '0' && copy[i] <= '9') || copy[i] == '.' ||
                copy[i] == '-' || copy[i] == '_'))
            return -EINVAL;
    }
    return 0;
}

int
conf_parse_address(const char *text, struct conf_address *ret)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t n_host;
    uint64_t port;
    struct conf_address a = {0};

    if (colon == NULL || conf_parse_count(colon + 1, &port) < 0 || port > UINT16_MAX)
        return -EINVAL;
    n_host = (size_t)(colon - text);
    bool is_bracketed = n_host >= 2 && text[0] == '[' && text[n_host - 1] == ']';
    if (is_bracketed) {
        host++;
        n_host -= 2;
    }
    bool is_any = !is_bracketed && n_host == 1 && host[0] == '*';
    if (!is_any && check_host(host, n_host, is_bracketed) < 0)
        return -EINVAL;

    a.port = (uint16_t)port;
    a.text = strdup(text);
    a.host = is_any ? NULL : strndup(host, n_host);
    if (a.text == NULL || (!is_any && a.host == NULL)) {
        conf_address_fini(&a);
        return -ENOMEM;
    }
    *ret = a;
    return 0;
}

void
conf_address_fini(struct conf_address *a)
{
    free(a->text);
    free(a->host);
    *a = (struct conf_address){0};
}
