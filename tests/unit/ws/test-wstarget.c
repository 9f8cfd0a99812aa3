/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/ws/wstarget.h"

#include "frontends/ws/options.h"
#include "tests/unit/base/suite.h"

#define CURSOR "1f-42"

static char path_text[] = "/ws", raw_text[] = "/raw", slash_text[] = "/raw/", none_text[] = "";
static char cable_text[] = "/cable";
static const struct ws_options options = {.path = path_text, .raw_path = raw_text};
static const struct cable_options cable = {.path = cable_text}, no_cable = {.path = none_text};

/* topic NULL: the bus's own protocol; status 0: taken. */
static void
expect(const struct ws_options *o, const char *path, const char *query, unsigned status, const char *topic)
{
    struct wstarget t;

    wstarget_parse(slice_str(path), slice_str(query), o, &cable, &t);
    ck_assert_msg(
        t.status == status, "%s?%s: %u instead of %u (%s)", path, query, t.status, status, t.reason);
    ck_assert_msg((t.reason[0] != '\0') == (status != 0), "%s?%s: %s", path, query, t.reason);
    if (status == 0) {
        ck_assert_int_eq(t.kind, topic == NULL ? WSTARGET_NATIVE : WSTARGET_RAW);
        ck_assert_msg(topic == NULL || slice_is(buf_slice(&t.topic), topic), "%s gives %.*s", path,
            SLICE_ARG(buf_slice(&t.topic)));
    }
    wstarget_fini(&t);
}

START_TEST(test_paths)
{
    expect(&options, "/ws", "", 0, NULL);
    expect(&options, "/ws", "since=nonsense", 0, NULL); /* only raw topics take parameters */
    expect(&options, "/raw/a", "", 0, "a");
    expect(&options, "/raw/a/b/", "", 0, "a/b/");
    expect(&options, "/raw//a", "", 0, "/a"); /* an empty level is a level */
    expect(&options, "/raw/a%2Fb%20c-d%C3%A9", "", 0, "a/b c-d\xc3\xa9");
    expect(&options, "/raw/$sys/frontends", "", 0, "$sys/frontends");
    expect(&options, "/", "", 404, NULL);
    expect(&options, "*", "", 404, NULL);
    expect(&options, "/ws/", "", 404, NULL);
    expect(&options, "/WS", "", 404, NULL);
    expect(&options, "/%77s", "", 404, NULL);
    expect(&options, "/raw", "", 404, NULL);
    expect(&options, "/rawa", "", 404, NULL);
    expect(&options, "/ra", "", 404, NULL);
}
END_TEST

START_TEST(test_topics)
{
    char path[5 + 4200 + 1] = "/raw/";

    expect(&options, "/raw/", "", 400, NULL);
    expect(&options, "/raw/a/+", "", 400, NULL);
    expect(&options, "/raw/%2B", "", 400, NULL);
    expect(&options, "/raw/a/%23", "", 400, NULL);
    expect(&options, "/raw/a%0a", "", 400, NULL);
    expect(&options, "/raw/a%00", "", 400, NULL);
    expect(&options, "/raw/a%", "", 400, NULL);
    expect(&options, "/raw/a%zz", "", 400, NULL);
    expect(&options, "/raw/%c3", "", 400, NULL);
    memset(path + 5, 'a', 1024);
    expect(&options, path, "", 0, path + 5);
    memset(path + 5, 'a', 1025);
    expect(&options, path, "", 400, NULL);
    memset(path + 5, 'a', 4200); /* more than is decoded at all */
    expect(&options, path, "", 400, NULL);
}
END_TEST

START_TEST(test_where_to_begin)
{
    struct wstarget t;

    wstarget_parse(slice_str("/raw/a"), slice_str("x=1&since=" CURSOR "&token=b"), &options, &cable, &t);
    ck_assert_uint_eq(t.status, 0);
    ck_assert_int_eq(t.from, FROM_SINCE);
    ck_assert(slice_is(buf_slice(&t.since), CURSOR));
    wstarget_fini(&t);
    wstarget_parse(slice_str("/raw/a"), slice_str("last=10"), &options, &cable, &t);
    ck_assert_uint_eq(t.status, 0);
    ck_assert_int_eq(t.from, FROM_LAST);
    ck_assert_uint_eq(t.last, 10);
    wstarget_fini(&t);
    wstarget_parse(slice_str("/raw/a"), slice_str(""), &options, &cable, &t);
    ck_assert_int_eq(t.from, FROM_LIVE);
    wstarget_fini(&t);
    expect(&options, "/raw/a", "since=", 400, NULL);
    expect(&options, "/raw/a", "since=x", 400, NULL);
    expect(&options, "/raw/a", "since=%zz", 400, NULL);
    expect(&options, "/raw/a", "last=", 400, NULL);
    expect(&options, "/raw/a", "last=-1", 400, NULL);
    expect(&options, "/raw/a", "last=1x", 400, NULL);
    expect(&options, "/raw/a", "last=9999999999999999999", 400, NULL);
    expect(&options, "/raw/a", "last=1&since=" CURSOR, 400, NULL);
}
END_TEST

START_TEST(test_raw_path)
{
    const struct ws_options slash = {.path = path_text, .raw_path = slash_text};
    const struct ws_options none = {.path = path_text, .raw_path = none_text};

    expect(&slash, "/raw/a", "", 0, "a");
    expect(&slash, "/rawa", "", 404, NULL);
    expect(&none, "/raw/a", "", 404, NULL);
    expect(&none, "/a", "", 404, NULL);
    expect(&none, "/ws", "", 0, NULL);
}
END_TEST

static enum wstarget_kind
cable_kind(const char *path, const struct cable_options *c, unsigned status)
{
    struct wstarget t;

    wstarget_parse(slice_str(path), slice_str("jid=x"), &options, c, &t);
    ck_assert_msg(t.status == status, "%s: %u", path, t.status);
    wstarget_fini(&t);
    return t.kind;
}

START_TEST(test_cable)
{
    ck_assert_int_eq(cable_kind("/cable", &cable, 0), WSTARGET_CABLE);
    ck_assert_int_eq(cable_kind("/cable/", &cable, 0), WSTARGET_CABLE);
    ck_assert_int_eq(cable_kind("/ws", &cable, 0), WSTARGET_NATIVE);
    (void)cable_kind("/cable//", &cable, 404);
    (void)cable_kind("/cable/x", &cable, 404);
    (void)cable_kind("/cabl", &cable, 404);
    (void)cable_kind("/", &cable, 404);
    (void)cable_kind("/cable", &no_cable, 404);
    (void)cable_kind("", &no_cable, 404);
}
END_TEST

SUITE_MAIN("wstarget", test_cable, test_paths, test_topics, test_where_to_begin, test_raw_path)
