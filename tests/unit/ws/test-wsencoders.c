/* SPDX-License-Identifier: Apache-2.0 */
/* Every variant of every dialect is read back by the parser that clients' frames go through. */
#include "config.h"

#include "frontends/ws/wsencoders.h"

#include "frontends/ws/wsdeflate.h"
#include "frontends/ws/wsframe.h"
#include "tests/unit/base/suite.h"

#define THRESHOLD 100u

static struct wsdeflate *deflate;
static struct wsencoders encoders;

static void
setup(void)
{
    ck_assert_int_eq(wsdeflate_new(6, &deflate), 0);
    wsencoders_init(&encoders, deflate, THRESHOLD);
}

static void
teardown(void)
{
    wsencoders_fini(&encoders);
    deflate = wsdeflate_free(deflate);
}

/* Reads one frame off the front; its payload, inflated, goes to *ret. Gives what stood on the wire. */
static struct wsframe_event
read_frame(struct wsframe_input *in, struct buf *ret)
{
    const struct wsframe_limits limits = {.max_message = 1u << 24};
    struct wsframe_event event, on_wire;
    struct wsframe f;

    wsframe_init(&f, WSFRAME_CLIENT);
    wsframe_allow_compressed(&f);
    ck_assert_int_ne(wsframe_next(&f, &limits, in, &event), WSFRAME_MORE);
    on_wire = event;
    buf_reset(ret);
    if (event.is_compressed)
        wsdeflate_open_event(deflate, &event, limits.max_message, ret);
    else
        buf_put_slice(ret, event.payload);
    ck_assert(!event.is_compressed);
    ck_assert_int_ne(event.type, WSFRAME_ERROR);
    wsframe_fini(&f);
    return on_wire;
}

static void
check_raw(const struct wsdeflate_params *params, enum message_kind kind, size_t n)
{
    const struct encoder *e = wsencoders_find(&encoders, WSENCODERS_RAW, params);
    bool may_compress = n >= THRESHOLD && wsdeflate_may_send(params, n);
    struct wsframe_input in;
    struct wsframe_event event;
    struct buf out, got;
    char *body = malloc(n + 1);

    memset(body, 'a', n);
    buf_init(&out, 0);
    buf_init(&got, 0);
    for (int i = 0; i < 2; i++) /* one behind the other, as in a block */
        e->put_message(e, &out, &(struct message){.kind = kind, .body = slice_of(body, n)}, slice_str("1"));
    ck_assert(!buf_failed(&out));
    in = (struct wsframe_input){.p = out.p, .n = out.n};
    for (int i = 0; i < 2; i++) {
        event = read_frame(&in, &got);
        ck_assert_int_eq(event.type, kind == MESSAGE_BINARY ? WSFRAME_BINARY : WSFRAME_TEXT);
        ck_assert_msg(event.is_compressed == may_compress, "%zu bytes", n);
        ck_assert(slice_equal(buf_slice(&got), slice_of(body, n)));
    }
    ck_assert_uint_eq(in.n, 0);
    buf_fini(&out);
    buf_fini(&got);
    free(body);
}

START_TEST(test_raw)
{
    static const size_t sizes[] = {0, 1, 99, 100, 125, 126, 256, 257, 65535, 65536, 300000};
    static const struct wsdeflate_params params[] = {{.is_on = false}, {.is_on = true, .server_bits = 8},
        {.is_on = true, .server_bits = 12}, {.is_on = true, .server_bits = 15}};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t k = 0; k < sizeof params / sizeof params[0]; k++) {
            check_raw(&params[k], MESSAGE_TEXT, sizes[i]);
            check_raw(&params[k], MESSAGE_BINARY, sizes[i]);
        }
    check_raw(&params[0], MESSAGE_JSON, 10);
}
END_TEST

/* What does not shrink goes out as it is. */
START_TEST(test_noise)
{
    const struct wsdeflate_params on = {.is_on = true, .server_bits = 15};
    const struct encoder *e = wsencoders_find(&encoders, WSENCODERS_RAW, &on);
    uint8_t noise[1000];
    uint32_t x = 1;
    struct wsframe_input in;
    struct buf out, got;

    for (size_t i = 0; i < sizeof noise; i++) {
        x = x * 1664525u + 1013904223u;
        noise[i] = (uint8_t)(x >> 24);
    }
    buf_init(&out, 0);
    buf_init(&got, 0);
    e->put_message(e, &out, &(struct message){.kind = MESSAGE_BINARY, .body = slice_of(noise, sizeof noise)},
        slice_str("1"));
    in = (struct wsframe_input){.p = out.p, .n = out.n};
    ck_assert(!read_frame(&in, &got).is_compressed);
    ck_assert(slice_equal(buf_slice(&got), slice_of(noise, sizeof noise)));
    buf_fini(&out);
    buf_fini(&got);
}
END_TEST

START_TEST(test_native)
{
    static const enum wsencoders_dialect dialects[] = {WSENCODERS_JSON, WSENCODERS_MSGPACK};
    const struct wsdeflate_params off = {.is_on = false};

    for (int i = 0; i < 2; i++) {
        const struct encoder *e = wsencoders_find(&encoders, dialects[i], &off);
        struct wsframe_input in;
        struct buf out, got;

        buf_init(&out, 0);
        buf_init(&got, 0);
        e->put_answer(e, &out, &(struct answer){.type = ANSWER_PUBLISHED}); /* nobody asked: nothing at all */
        ck_assert_uint_eq(out.n, 0);
        e->put_answer(e, &out, &(struct answer){.type = ANSWER_PONG});
        in = (struct wsframe_input){.p = out.p, .n = out.n};
        ck_assert_int_eq(read_frame(&in, &got).type, i == 0 ? WSFRAME_TEXT : WSFRAME_BINARY);
        ck_assert(slice_is(buf_slice(&got), i == 0 ? "{\"op\":\"pong\"}" : "\201\242op\244pong"));
        buf_fini(&out);
        buf_fini(&got);
    }
}
END_TEST

/* Sharing is by pointer: the same for the same parameters, another for others. */
START_TEST(test_identity)
{
    const struct encoder *seen[3 * 9];
    size_t n = 0;

    for (int d = WSENCODERS_JSON; d <= WSENCODERS_RAW; d++)
        for (unsigned bits = 7; bits <= 15; bits++) {
            struct wsdeflate_params params = {.is_on = bits > 7, .server_bits = (uint8_t)bits};
            const struct encoder *e = wsencoders_find(&encoders, (enum wsencoders_dialect)d, &params);

            ck_assert_ptr_eq(e, wsencoders_find(&encoders, (enum wsencoders_dialect)d, &params));
            for (size_t i = 0; i < n; i++)
                ck_assert_ptr_ne(e, seen[i]);
            seen[n++] = e;
        }
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("wsencoders");
    TCase *tcase = tcase_create("wsencoders");
    SRunner *runner;
    int n_failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_raw);
    tcase_add_test(tcase, test_noise);
    tcase_add_test(tcase, test_native);
    tcase_add_test(tcase, test_identity);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
