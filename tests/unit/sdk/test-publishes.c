/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "frontends/sdk/publishes.h"

#include "tests/unit/base/suite.h"

#include <errno.h>
#include <stdlib.h>

static struct publish *
add(struct publishes *p, const char *topic, const char *frame)
{
    struct request r = {.op = REQUEST_PUB, .id = slice_str("17"), .topic = slice_str(topic)};

    ck_assert_int_eq(publishes_add(p, NULL, &r, slice_str(frame)), 0);
    return publishes_find(p, p->next - 1);
}

static void
take(struct publishes *p, uint64_t number)
{
    struct publish *found = publishes_find(p, number), *publish = publishes_take(p, number);

    ck_assert_ptr_nonnull(publish);
    ck_assert_ptr_eq(publish, found);
    publish_free(p, publish);
}

START_TEST(test_keeps_all_parts)
{
    struct publishes p;
    struct publish *one;

    publishes_init(&p);
    one = add(&p, "chat/1", "hello");
    ck_assert_ptr_eq(publishes_find(&p, 1), one);
    ck_assert(slice_is(publish_id(one), "17"));
    ck_assert(slice_is(publish_topic(one), "chat/1"));
    ck_assert(slice_is(publish_frame(one), "hello"));
    ck_assert_uint_eq(p.n_bytes, publish_size(one));
    publishes_fini(&p);
}
END_TEST

START_TEST(test_any_order)
{
    struct publishes p;

    publishes_init(&p);
    for (int i = 0; i < 1000; i++)
        add(&p, "t", "x");
    for (uint64_t n = 1000; n >= 1; n--) { /* the last first */
        take(&p, n);
        ck_assert_ptr_null(publishes_take(&p, n));
    }
    ck_assert_uint_eq(p.n_held, 0);
    ck_assert_uint_eq(p.n_bytes, 0);
    ck_assert_uint_eq(p.first, 1001);
    ck_assert_ptr_eq(add(&p, "t", "x"), publishes_find(&p, 1001));
    publishes_fini(&p);
}
END_TEST

START_TEST(test_bounds)
{
    struct publishes p;
    size_t size;

    publishes_init(&p);
    ck_assert(publishes_has_room(&p, 2, 1, 100)); /* one always fits */
    size = publish_size(add(&p, "t", "x"));
    ck_assert(publishes_has_room(&p, 2, 2 * size, size));
    ck_assert(!publishes_has_room(&p, 2, 2 * size - 1, size));
    ck_assert(!publishes_has_room(&p, 1, 2 * size, size));
    for (int i = 0; i < 7; i++)
        add(&p, "t", "x");
    ck_assert(!publishes_has_ease(&p, 8, 1000 * size));
    take(&p, 8); /* not the first: the window stays */
    take(&p, 7);
    ck_assert(!publishes_has_ease(&p, 8, 1000 * size));
    take(&p, 1);
    take(&p, 2);
    ck_assert(publishes_has_ease(&p, 8, 1000 * size));
    ck_assert(!publishes_has_ease(&p, 8, 4 * size));
    publishes_fini(&p);
}
END_TEST

START_TEST(test_refuses_what_does_not_fit)
{
    struct publishes p;
    char *large = calloc(1, UINT16_MAX + 1u);
    struct request r = {.topic = slice_of(large, UINT16_MAX + 1u)};

    publishes_init(&p);
    ck_assert_int_eq(publishes_add(&p, NULL, &r, slice_str("x")), -EMSGSIZE);
    ck_assert_uint_eq(p.next, 1); /* no number was lost */
    publishes_fini(&p);
    free(large);
}
END_TEST

SUITE_MAIN("publishes", test_keeps_all_parts, test_any_order, test_bounds, test_refuses_what_does_not_fit)
