/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every frame of the table, by the table: what is packed is read back, no prefix of it is taken, nor another
 * number of fields, nor another type in any place. msgpack-c packs each of them to the same bytes.
 */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <msgpack.h>
#include <stdlib.h>

#include "base/siphash.h"
#include "wire/errors.h"
#include "wire/frame.h"

/* ---- A value of each type that differs from one field to the next, and its comparison. ---- */

static struct buf storage;
static uint64_t turn;

static uint64_t
fill_u64(void)
{
    static const uint64_t values[] = {0, 127, 128, 255, 65536, UINT32_MAX, UINT64_MAX};
    return values[turn++ % (sizeof values / sizeof *values)];
}

static struct slice
fill_str(void)
{
    static const char *const values[] = {
        "", "topic/a", "\xc3\xa9t\xc3\xa9", "0123456789012345678901234567890123456789"};
    return slice_str(values[turn++ % (sizeof values / sizeof *values)]);
}

static struct slice
fill_bin(void)
{
    static uint8_t bytes[70000];
    static const size_t sizes[] = {0, 16, 255, 256, 70000};
    memset(bytes, 0xff, sizeof bytes);
    return slice_of(bytes, sizes[turn++ % (sizeof sizes / sizeof *sizes)]);
}

static struct strs
fill_strs(void)
{
    struct slice items[] = {slice_str("a/+"), slice_str(""), slice_str("#")};
    struct strs s;
    strs_from(&storage, &s, items, turn++ % 4);
    return s;
}

#define SAME_u64(a, b) ck_assert_uint_eq(a, b)
#define SAME_str(a, b) ck_assert(slice_equal(a, b))
#define SAME_bin(a, b) ck_assert(slice_equal(a, b))
#define SAME_strs(a, b) ck_assert((a).n == (b).n && slice_equal((a).packed, (b).packed))

/* One frame of each kind, packed into out. */
#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    static void fill_##name(struct frame_##name *f)                                                          \
    {                                                                                                        \
        (void)f;
#define FIELD(type, name) f->name = fill_##type();
#define FRAME_END(name, NAME) }
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

#define FRAME_BEGIN(name, NAME, number, direction)                                                           \
    static void same_##name(const struct frame_##name *a, const struct frame_##name *b)                      \
    {                                                                                                        \
        (void)a;                                                                                             \
        (void)b;
#define FIELD(type, name) SAME_##type(a->name, b->name);
#define FRAME_END(name, NAME) }
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

/* ---- What must be refused. ---- */

static void
assert_refused(const uint8_t *p, size_t n, const char *what, const char *name)
{
    uint8_t *exact = malloc(n > 0 ? n : 1); /* so that ASan sees a read past its end */
    struct mp c;
    struct frame f;
    const char *error = NULL;

    ck_assert_ptr_nonnull(exact);
    memcpy(exact, p, n);
    c = mp_of(slice_of(exact, n));
    ck_assert_msg(frame_next(&c, &f, &error) == -EINVAL, "%s of %s was taken", what, name);
    ck_assert_ptr_nonnull(error);
    ck_assert_ptr_eq(c.p, exact); /* the cursor stays */
    ck_assert_int_eq(frame_next(&c, &f, NULL), -EINVAL);
    free(exact);
}

static void
check_prefixes(const struct buf *b, const char *name)
{
    for (size_t n = 1; n < b->n; n += n < 64 || n + 64 > b->n ? 1 : 997)
        assert_refused(b->p, n, "a prefix", name);
}

static void
check_arity(const struct buf *b, const char *name)
{
    struct buf other;

    ck_assert_uint_eq(b->p[0] & 0xf0, 0x90); /* a short array */
    buf_init(&other, 0);
    buf_put_slice(&other, buf_slice(b));
    buf_put_byte(&other, 0xc0);
    other.p[0] = b->p[0] + 1;
    assert_refused(other.p, other.n, "one field too many", name);
    other.p[0] = b->p[0] - 1;
    assert_refused(other.p, other.n, "one field too few", name);
    buf_fini(&other);
}

/* Puts something else in the place of each field in turn. */
static void
check_types(const struct buf *b, const char *name)
{
    static const char *const others[] = {
        "\xc0", "\xc3", "\xff", "\xca????", "\x81\xa1x\x01", "\x91\x05", "\xa2\xc3\x28"};
    struct mp c = mp_of(buf_slice(b));
    struct buf other;
    uint32_t n;

    buf_init(&other, 0);
    ck_assert_int_eq(mp_array(&c, &n), 0);
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *start = c.p;
        struct slice value;
        ck_assert_int_eq(mp_skip(&c, &value), 0);
        for (size_t k = 0; k < sizeof others / sizeof *others; k++) {
            buf_reset(&other);
            buf_put(&other, b->p, (size_t)(start - b->p));
            buf_put_str(&other, others[k]);
            buf_put(&other, c.p, (size_t)(c.end - c.p));
            assert_refused(other.p, other.n, "a wrong type", name);
        }
    }
    buf_fini(&other);
}

#define FRAME_BEGIN(name, NAME, number, way)                                                                 \
    START_TEST(test_##name)                                                                                  \
    {                                                                                                        \
        for (turn = 0; turn < 60; turn += 7) {                                                               \
            struct frame_##name own = {}; /* BYE has no field for a 0 */                                     \
            struct frame f;                                                                                  \
            struct buf b;                                                                                    \
            uint64_t from = turn;                                                                            \
            buf_init(&storage, 0);                                                                           \
            buf_init(&b, 0);                                                                                 \
            fill_##name(&own);                                                                               \
            turn = from;                                                                                     \
            frame_put_##name(&b, &own);                                                                      \
            ck_assert(!buf_failed(&b));                                                                      \
            struct mp c = mp_of(buf_slice(&b));                                                              \
            ck_assert_int_eq(frame_next(&c, &f, NULL), FRAME_OK);                                            \
            ck_assert_int_eq(f.type, number);                                                                \
            ck_assert_ptr_eq(c.p, c.end);                                                                    \
            ck_assert_int_eq(frame_next(&c, &f, NULL), FRAME_END_OF_BATCH);                                  \
            same_##name(&f.name, &own);                                                                      \
            ck_assert_str_eq(frame_name(f.type), #NAME);                                                     \
            ck_assert_int_eq(frame_direction(f.type), way);                                                  \
            check_prefixes(&b, #NAME);                                                                       \
            check_arity(&b, #NAME);                                                                          \
            if (from == 0)                                                                                   \
                check_types(&b, #NAME);                                                                      \
            buf_fini(&b);                                                                                    \
            buf_fini(&storage);                                                                              \
        }                                                                                                    \
    }                                                                                                        \
    END_TEST
#define FIELD(type, name)
#define FRAME_END(name, NAME)
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

/* ---- The same by msgpack-c, of random fields. ---- */

static uint64_t
random_u64(void)
{
    static uint64_t state = 88172645463325252u; /* xorshift: the same fields in each run */

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Of all lengths in bits, and at the edges between two forms. */
static void
random_field_u64(uint64_t *ret)
{
    uint64_t edge = UINT64_C(1) << (random_u64() % 64);

    *ret = random_u64() % 4 == 0 ? edge - random_u64() % 2 : random_u64() >> (random_u64() % 64);
}

static uint8_t letters[70000];

static void
random_field_bin(struct slice *ret)
{
    static const size_t edges[] = {0, 1, 15, 16, 31, 32, 33, 255, 256, 257, 65535, 65536};

    *ret = slice_of(letters, random_u64() % 8 != 0 ? random_u64() % 300 : edges[random_u64() % 12]);
}

#define random_field_str random_field_bin

static void
random_field_strs(struct strs *ret)
{
    static struct slice items[70000];
    size_t n = random_u64() % 64 == 0 ? 65530 + random_u64() % 12 : random_u64() % 20;

    for (size_t i = 0; i < n; i++)
        random_field_bin(&items[i]);
    strs_from(&storage, ret, items, n);
}

static void
oracle_u64(msgpack_packer *pk, uint64_t v)
{
    msgpack_pack_uint64(pk, v);
}

static void
oracle_str(msgpack_packer *pk, struct slice s)
{
    msgpack_pack_str(pk, s.n);
    msgpack_pack_str_body(pk, s.p, s.n);
}

static void
oracle_bin(msgpack_packer *pk, struct slice s)
{
    msgpack_pack_bin(pk, s.n);
    msgpack_pack_bin_body(pk, s.p, s.n);
}

static void
oracle_strs(msgpack_packer *pk, struct strs s)
{
    struct slice item;

    msgpack_pack_array(pk, s.n);
    while (strs_next(&s, &item))
        oracle_str(pk, item);
}

/* theirs: what is in the array. */
static void
check_same_bytes(const struct buf *b, uint32_t n, const msgpack_sbuffer *theirs, const char *name)
{
    ck_assert(!buf_failed(b));
    ck_assert_uint_eq(b->p[0], 0x90 | n);
    ck_assert_msg(b->n == 1 + theirs->size && memcmp(b->p + 1, theirs->data, theirs->size) == 0,
        "%s: %zu bytes, and %zu other ones of msgpack-c", name, b->n, 1 + theirs->size);
}

#define FRAME_BEGIN(name, NAME, number, way)                                                                 \
    static void check_oracle_##name(void)                                                                    \
    {                                                                                                        \
        struct frame_##name f = {};                                                                          \
        struct frame read;                                                                                   \
        msgpack_sbuffer theirs;                                                                              \
        msgpack_packer pk;                                                                                   \
        struct buf b;                                                                                        \
        uint32_t n_fields = 0;                                                                               \
        buf_init(&storage, 0);                                                                               \
        buf_init(&b, 0);                                                                                     \
        msgpack_sbuffer_init(&theirs);                                                                       \
        msgpack_packer_init(&pk, &theirs, msgpack_sbuffer_write);                                            \
        msgpack_pack_uint64(&pk, number);
#define FIELD(type, name)                                                                                    \
    n_fields++;                                                                                              \
    random_field_##type(&f.name);                                                                            \
    oracle_##type(&pk, f.name);
#define FRAME_END(name, NAME)                                                                                \
    frame_put_##name(&b, &f);                                                                                \
    check_same_bytes(&b, 1 + n_fields, &theirs, #NAME);                                                      \
    struct mp c = mp_of(buf_slice(&b));                                                                      \
    ck_assert_int_eq(frame_next(&c, &read, NULL), FRAME_OK);                                                 \
    ck_assert_ptr_eq(c.p, c.end);                                                                            \
    same_##name(&read.name, &f);                                                                             \
    msgpack_sbuffer_destroy(&theirs);                                                                        \
    buf_fini(&b);                                                                                            \
    buf_fini(&storage);                                                                                      \
    }
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END

START_TEST(test_oracle)
{
    memset(letters, 'x', sizeof letters);
    for (int i = 0; i < 100; i++) {
#define FRAME_BEGIN(name, NAME, number, way) check_oracle_##name();
#define FIELD(type, name)
#define FRAME_END(name, NAME)
#include "wire/frames.tbl.h"
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END
    }
}
END_TEST

/* ---- What the table does not say. ---- */

START_TEST(test_numbers_nobody_has)
{
    const char *heads[] = {"\x91\x00x", "\x91\x7fx", "\x91\xcc\x80",
        "\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "\x90", "\xa1x", "\x91\xff"};

    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        assert_refused((const uint8_t *)heads[i], i == 0 ? 2 : strlen(heads[i]), "a strange head", "nothing");
    ck_assert_str_eq(frame_name(0), "unknown");
    ck_assert_str_eq(frame_name(127), "unknown");
    ck_assert_str_eq(frame_name(FRAME_N + 1), "unknown");
    ck_assert_int_eq(frame_direction(FRAME_N + 1), 0);
}
END_TEST

START_TEST(test_forged_counts)
{
    assert_refused((const uint8_t *)"\xdd\x0f\xff\xff\xff", 5, "a forged array", "nothing");
    assert_refused((const uint8_t *)"\x92\x09\xdb\xff\xff\xff\xff", 7, "a forged str", "FORGET");
    assert_refused(
        (const uint8_t *)"\x97\x14\x01\xdd\xff\xff\xff\xff\x01\x01\x01\x01", 12, "forged strs", "RECOVER");
}
END_TEST

START_TEST(test_strs)
{
    struct slice items[] = {slice_str("a"), slice_str("b/c")}, got;
    struct strs s;

    buf_init(&storage, 0);
    strs_from(&storage, &s, items, 2);
    ck_assert(strs_next(&s, &got) && slice_is(got, "a"));
    ck_assert(strs_next(&s, &got) && slice_is(got, "b/c"));
    ck_assert(!strs_next(&s, &got));
    buf_fini(&storage);
}
END_TEST

START_TEST(test_full_buffer)
{
    struct buf b;

    buf_init(&b, 20);
    frame_put_gap(&b, &(struct frame_gap){.topic = slice_str("much too long for twenty bytes")});
    ck_assert(buf_failed(&b));
    buf_fini(&b);
}
END_TEST

/* A frame that was added: only the second number changes. One that was there has changed, or is gone: an end
 * of before would end the link when it gets one, so LINK_PROTO is raised, too, and both are told by HELLO. */
START_TEST(test_version)
{
    static const uint8_t key[16];
    static const char table[] =
#define FRAME_BEGIN(name, NAME, number, direction) #number " " #direction
#define FIELD(type, name) " " #type " " #name
#define FRAME_END(name, NAME) "\n"
#include "wire/frames.tbl.h"
        ;
#undef FRAME_BEGIN
#undef FIELD
#undef FRAME_END
    ck_assert_uint_eq(LINK_PROTO, 3);
    ck_assert_msg(siphash13(key, table, sizeof table) == UINT64_C(0x6ee0f71d58607f33),
        "the table is 0x%" PRIx64, siphash13(key, table, sizeof table));
}
END_TEST

START_TEST(test_errors)
{
    ck_assert_str_eq(error_code_name(ERROR_TOPIC_INVALID), "topic_invalid");
    ck_assert_int_eq(error_code_http(ERROR_TOO_SLOW), 503);
    for (int i = ERROR_NONE + 1; i < ERROR_N; i++) {
        ck_assert_int_eq(error_code_find(slice_str(error_code_name((enum error_code)i))), i);
        ck_assert_int_ge(error_code_http((enum error_code)i), 400);
        ck_assert_uint_gt(strlen(error_code_sentence((enum error_code)i)), 10);
    }
    ck_assert_int_eq(error_code_find(slice_str("no_such_code")), ERROR_INTERNAL);
    ck_assert_str_eq(error_code_name((enum error_code)9999), "internal");
}
END_TEST

int
main(void)
{
    Suite *suite = suite_create("frame");
    TCase *tc = tcase_create("frame");

    tcase_set_timeout(tc, 60);
#define FRAME_BEGIN(name, NAME, number, direction) tcase_add_test(tc, test_##name);
#define FIELD(type, name)
#define FRAME_END(name, NAME)
#include "wire/frames.tbl.h"
    tcase_add_test(tc, test_oracle);
    tcase_add_test(tc, test_numbers_nobody_has);
    tcase_add_test(tc, test_forged_counts);
    tcase_add_test(tc, test_strs);
    tcase_add_test(tc, test_full_buffer);
    tcase_add_test(tc, test_errors);
    tcase_add_test(tc, test_version);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
