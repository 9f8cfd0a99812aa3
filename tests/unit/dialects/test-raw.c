/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/dialects/dialect.h"
#include "frontends/dialects/raw/raw.h"

#include "tests/unit/base/suite.h"
#include "tests/unit/dialects/nativesupport.h"

/* A framing that shows what it was told, of text, a line or bytes: "<T>piece." in at most 3 bytes of room and
 * with a byte to spare. */
static void
framing_finish(const struct framing *f, struct buf *out, size_t at, enum piece piece)
{
    ck_assert_uint_eq(f->head_max, 4);
    out->p[at + 1] = '<';
    out->p[at + 2] = "BTL"[piece];
    out->p[at + 3] = '>';
    memmove(out->p + at, out->p + at + 1, out->n - at - 1);
    out->n--;
    buf_put_byte(out, '.');
}

static const struct framing framing = {.head_max = 4, .finish = framing_finish};

START_TEST(test_raw_decode)
{
    struct request r;

    raw_decode(slice_str("{}"), true, slice_str("a"), &r);
    ck_assert_int_eq(r.op, REQUEST_PUB);
    ck_assert_int_eq(r.kind, MESSAGE_TEXT);
    CHECK_SLICE(r.topic, "a");
    CHECK_SLICE(r.body, "{}");
    ck_assert_uint_eq(r.id.n + r.key.n + r.type.n + r.headers.n, 0);
    raw_decode(slice_of("\xff", 1), false, slice_str("a"), &r);
    ck_assert_int_eq(r.kind, MESSAGE_BINARY);
}
END_TEST

START_TEST(test_raw_encoder)
{
    struct message m = {.topic = slice_str("a"), .kind = MESSAGE_JSON, .body = slice_str("{}")};
    struct answer a = {.type = ANSWER_ERROR, .code = ERROR_INTERNAL};
    struct raw_encoder e;
    struct buf out;

    buf_init(&out, 0);
    raw_encoder_init(&e, "raw", &framing);
    e.base.put_message(&e.base, &out, &m, slice_of(NULL, 0));
    m.kind = MESSAGE_BINARY;
    e.base.put_message(&e.base, &out, &m, slice_of(NULL, 0));
    m.kind = MESSAGE_TEXT;
    m.body.n = 0;
    e.base.put_message(&e.base, &out, &m, slice_of(NULL, 0));
    e.base.put_answer(&e.base, &out, &a);
    CHECK_SLICE(buf_slice(&out), "<T>{}.<B>{}.<T>.");
    raw_encoder_init(&e, "raw", NULL);
    m.body = slice_str("bare");
    buf_reset(&out);
    e.base.put_message(&e.base, &out, &m, slice_of(NULL, 0));
    CHECK_SLICE(buf_slice(&out), "bare");
    buf_fini(&out);
}
END_TEST

START_TEST(test_dialect_encoder)
{
    struct message m = {.topic = slice_str("a"), .cursor = slice_str("1-1"), .kind = MESSAGE_BINARY};
    struct answer pong = {.type = ANSWER_PONG}, published = {.type = ANSWER_PUBLISHED};
    struct dialect_encoder e;
    struct buf out;

    buf_init(&out, 0);
    dialect_encoder_init(&e, "x/json", &dialect_native_json, &framing);
    e.base.put_answer(&e.base, &out, &pong);
    e.base.put_answer(&e.base, &out, &published); /* nothing to say: no empty frame */
    e.base.put_answer(&e.base, &out, &pong);
    CHECK_SLICE(buf_slice(&out), "<T>{\"op\":\"pong\"}.<T>{\"op\":\"pong\"}.");
    buf_reset(&out);
    e.base.put_message(&e.base, &out, &m, slice_str("1"));
    ck_assert_uint_eq(memcmp(out.p, "<L>{\"op\":\"msg\",\"sub\":1,", 23), 0);
    m.kind = MESSAGE_TEXT;
    m.body = slice_str("a\r\nb");
    buf_reset(&out);
    e.base.put_message(&e.base, &out, &m, slice_str("1"));
    ck_assert_uint_eq(out.p[1], 'L');
    ck_assert_ptr_null(memchr(out.p, '\n', out.n));
    m.kind = MESSAGE_JSON; /* there they may stand as they came */
    m.body = slice_str("{\n}");
    buf_reset(&out);
    e.base.put_message(&e.base, &out, &m, slice_str("1"));
    ck_assert_uint_eq(out.p[1], 'T');
    buf_reset(&out);
    dialect_encoder_init(&e, "x/msgpack", &dialect_native_msgpack, &framing);
    e.base.put_answer(&e.base, &out, &pong);
    CHECK_SLICE(buf_slice(&out), "<B>\x81\xa2op\xa4pong.");
    buf_reset(&out);
    dialect_encoder_init(&e, "x/json", &dialect_native_json, NULL);
    e.base.put_answer(&e.base, &out, &pong);
    e.base.put_answer(&e.base, &out, &published);
    CHECK_SLICE(buf_slice(&out), "{\"op\":\"pong\"}");
    buf_fini(&out);

    /* A limit that the framing's head already passes fails the buffer and nothing else. */
    buf_init(&out, 2);
    dialect_encoder_init(&e, "x/json", &dialect_native_json, &framing);
    e.base.put_answer(&e.base, &out, &pong);
    ck_assert(buf_failed(&out));
    buf_fini(&out);
}
END_TEST

SUITE_MAIN("raw", test_raw_decode, test_raw_encoder, test_dialect_encoder)
