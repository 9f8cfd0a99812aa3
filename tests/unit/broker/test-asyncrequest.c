/* SPDX-License-Identifier: Apache-2.0 */
/* Asynchronous requests: a real busbar-broker, and frontends that speak the link to it frame by frame. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/broker/fakefrontend.h"
#include "wire/link.h"

#define QUIET "broker: {sys_interval: 0}\n"
#define RESPONDER 1

static void
respond(struct fake *f, uint64_t number, const char *filter, uint64_t credit)
{
    fake_consume(f, number, RESPONDER, filter, "", credit);
    fake_expect(f, "CONSUMING %" PRIu64, number);
}

static void
ask(struct fake *f, uint64_t req, const char *topic, const char *body, char id[80])
{
    fake_request_kept(f, req, topic, body, 0);
    fake_expect(f, "ACCEPTED %" PRIu64, req);
    snprintf(id, 80, "%s", f->request_id);
}

START_TEST(request_waits_for_a_responder_and_its_reply_for_the_asker)
{
    struct bus bus;
    struct fake a, r;
    char id[80];

    bus_start(&bus, QUIET);
    fake_open_live(&a, &bus, "http.1");
    fake_open_live(&r, &bus, "tcp.1");
    ask(&a, 1, "svc/add", "1+1", id);
    fake_result(&a, 2, id, 0);
    fake_expect(&a, "REPLIED 2 code=pending ");
    fake_result(&r, 2, id, 60000); /* anybody who knows the id */
    fake_expect_nothing(&a);
    respond(&r, 1, "svc/#", 1);
    fake_expect(&r, "CALL 1 svc/add n=1 1+1");
    fake_reply(&r, 7, 1, r.call, NULL, "2");
    fake_expect(&r, "REPLIED 2 code= 2");
    fake_expect(&r, "SETTLED 7 code= count=1");
    fake_result(&a, 3, id, 0);
    fake_expect(&a, "REPLIED 3 code= 2");
    fake_result(&a, 4, id, 1000); /* again */
    fake_expect(&a, "REPLIED 4 code= 2");
    fake_reply(&r, 8, 1, r.call, NULL, "3");
    fake_expect(&r, "SETTLED 8 code=call_unknown count=0");
    ask(&a, 5, "svc/add", "2+2", id); /* the responder has room again */
    fake_expect(&r, "CALL 1 svc/add n=1 2+2");
    fake_reply(&r, 0, 1, r.call, "failed", "no idea");
    fake_result(&a, 6, id, 60000);
    fake_expect(&a, "REPLIED 6 code=responder_failed ");
    fake_result(&a, 7, "00000000000000000000000000", 0);
    fake_expect(&a, "REPLIED 7 code=not_found ");
    fake_result(&a, 8, "nonsense", 0);
    fake_expect(&a, "REPLIED 8 code=not_found ");
    fake_close(&a);
    fake_close(&r);
    bus_stop(&bus);
}
END_TEST

START_TEST(all_that_wait_get_the_reply)
{
    enum { N = 500 };
    struct bus bus;
    struct fake a;
    char id[80];

    bus_start(&bus, QUIET);
    fake_open_live(&a, &bus, "http.1");
    ask(&a, 1, "svc", "x", id);
    for (uint64_t req = 10; req < 10 + N; req++)
        fake_result(&a, req, id, 60000);
    fake_result(&a, 5000, id, 60000);
    fake_abandon(&a, 5000);
    respond(&a, 1, "svc", 1);
    fake_expect(&a, "CALL 1 svc n=1 x");
    fake_reply(&a, 0, 1, a.call, NULL, ""); /* an empty one is one, too */
    for (uint64_t req = 10; req < 10 + N; req++)
        fake_expect(&a, "REPLIED %" PRIu64 " code= ", req);
    fake_expect_nothing(&a);
    fake_close(&a);
    bus_stop(&bus);
}
END_TEST

START_TEST(responder_that_is_lost_is_followed_by_another)
{
    struct bus bus;
    struct fake a, r;
    char id[80], call[80];

    bus_start(&bus, QUIET "topics: [{match: '#', queue: {enabled: false, max_deliveries: 3}}]\n");
    fake_open_live(&a, &bus, "http.1");
    fake_open_live(&r, &bus, "tcp.1");
    respond(&r, 1, "svc", 1);
    ask(&a, 1, "svc", "x", id);
    fake_expect(&r, "CALL 1 svc n=1 x");
    snprintf(call, sizeof(call), "%s", r.call);
    respond(&a, 1, "#", 1);
    fake_unconsume(&r, 1);
    fake_expect(&a, "CALL 1 svc n=2 x");
    fake_reply(&r, 7, 1, call, NULL, "late");
    fake_expect(&r, "SETTLED 7 code=call_unknown count=0");
    fake_unconsume(&a, 1);
    respond(&r, 2, "svc", 1);
    fake_expect(&r, "CALL 2 svc n=3 x");
    fake_close(&r);
    fake_result(&a, 3, id, 60000);
    fake_expect(&a, "REPLIED 3 code=responder_gone ");
    fake_close(&a);
    bus_stop(&bus);
}
END_TEST

START_TEST(request_that_is_withdrawn_is_given_to_nobody)
{
    struct bus bus;
    struct fake f;
    char id[80], other[80];

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "http.1");
    ask(&f, 1, "svc", "x", id);
    fake_result(&f, 2, id, 60000);
    fake_withdraw(&f, 3, id);
    fake_expect(&f, "REPLIED 2 code=canceled ");
    fake_expect(&f, "SETTLED 3 code= count=1");
    fake_result(&f, 4, id, 0);
    fake_expect(&f, "REPLIED 4 code=canceled ");
    ask(&f, 5, "svc", "y", other);
    respond(&f, 1, "svc", 1);
    fake_expect(&f, "CALL 1 svc n=1 y"); /* x is not */
    fake_withdraw(&f, 6, other);
    fake_expect(&f, "SETTLED 6 code= count=1");
    fake_reply(&f, 7, 1, f.call, NULL, "z");
    fake_expect(&f, "SETTLED 7 code=call_unknown count=0");
    ask(&f, 8, "svc", "w", other);
    fake_expect(&f, "CALL 1 svc n=1 w"); /* it has room again */
    fake_reply(&f, 9, 1, f.call, NULL, "v");
    fake_expect(&f, "SETTLED 9 code= count=1");
    fake_withdraw(&f, 10, other); /* the reply is forgotten */
    fake_expect(&f, "SETTLED 10 code= count=1");
    fake_result(&f, 11, other, 0);
    fake_expect(&f, "REPLIED 11 code=not_found ");
    fake_withdraw(&f, 12, other);
    fake_expect(&f, "SETTLED 12 code=not_found count=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(request_and_reply_expire)
{
    struct bus bus;
    struct fake f;
    char id[80];

    bus_start(&bus, QUIET "topics: [{match: svc, request: {ttl: 1s, reply_ttl: 1s}}]\n");
    fake_open_live(&f, &bus, "http.1");
    ask(&f, 1, "svc", "x", id);
    fake_result(&f, 2, id, 60000);
    fake_expect(&f, "REPLIED 2 code=timeout ");
    fake_result(&f, 3, id, 0);
    fake_expect(&f, "REPLIED 3 code=timeout ");
    bus_run_ms(&bus, 1100);
    fake_result(&f, 4, id, 0);
    fake_expect(&f, "REPLIED 4 code=not_found ");
    respond(&f, 1, "svc", 1);
    fake_expect_nothing(&f);
    fake_request_kept(&f, 5, "svc", "y", 100); /* it wants no more than that */
    fake_expect(&f, "ACCEPTED 5");
    fake_expect(&f, "CALL 1 svc n=1 y");
    ck_assert_uint_le(f.call_timeout_ms, 100);
    bus_run_ms(&bus, 150);
    fake_reply(&f, 6, 1, f.call, NULL, "late");
    fake_expect(&f, "SETTLED 6 code=call_unknown count=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(requests_and_replies_cannot_be_reached_by_clients)
{
    struct bus bus;
    struct fake f;
    char id[80], topic[100];

    bus_start(&bus, QUIET);
    fake_open_live(&f, &bus, "http.1");
    ask(&f, 1, "svc", "x", id);
    snprintf(topic, sizeof(topic), "$replies/%s", id);
    fake_publish(&f, topic, "mine");
    fake_expect(&f, "REJECTED 1 not_allowed");
    fake_subscribe(&f, 1, topic);
    fake_expect(&f, "UNSUBSCRIBABLE 1 not_allowed");
    fake_subscribe(&f, 2, "$replies/#"); /* held, and gets nothing */
    fake_expect(&f, "SUBSCRIBED 2 seq=%d retained=1", 3);
    fake_recover(&f, 1, "$replies/#", RECOVER_RETAINED, f.epoch, 0, 0);
    fake_expect(&f, "RECOVERED 1 state=0 seq=3 more=0");
    fake_consume(&f, 1, 0, "$requests/svc", "responders", 1);
    fake_expect(&f, "UNCONSUMABLE 1 not_allowed");
    frame_put_list(
        link_buf(f.link), &(struct frame_list){.req = 6, .filter = slice_str("$replies/#"), .limit = 9});
    frame_put_list(
        link_buf(f.link), &(struct frame_list){.req = 7, .filter = slice_str("$requests/#"), .limit = 9});
    frame_put_queues(
        link_buf(f.link), &(struct frame_queues){.req = 8, .filter = slice_str("$requests/#"), .limit = 9});
    link_commit(f.link);
    fake_expect(&f, "QUEUES_END 8 more=0");
    fake_expect(&f, "LIST_END 6 more=0");
    fake_expect(&f, "LIST_END 7 more=0");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

START_TEST(limits_are_named)
{
    struct bus bus;
    struct fake f;
    char id[80];

    bus_start(&bus, "broker: {sys_interval: 0, kept_requests_max: 2, requests_max: 2}\n"
                    "topics: [{match: one, queue: {enabled: false, max_messages: 1}}]\n");
    fake_open_live(&f, &bus, "http.1");
    ask(&f, 1, "one", "x", id);
    fake_request_kept(&f, 2, "one", "x", 0);
    fake_expect(&f, "REPLIED 2 code=queue_full ");
    ask(&f, 3, "two", "x", id);
    fake_request_kept(&f, 4, "two", "x", 0);
    fake_expect(&f, "REPLIED 4 code=limit_reached ");
    fake_result(&f, 5, id, 60000);
    fake_result(&f, 6, id, 60000);
    fake_result(&f, 7, id, 60000);
    fake_expect(&f, "REPLIED 7 code=limit_reached ");
    fake_close(&f);
    bus_stop(&bus);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("asyncrequest");
    TCase *t = tcase_create("asyncrequest");
    SRunner *runner;
    int n_failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, request_waits_for_a_responder_and_its_reply_for_the_asker);
    tcase_add_test(t, all_that_wait_get_the_reply);
    tcase_add_test(t, responder_that_is_lost_is_followed_by_another);
    tcase_add_test(t, request_that_is_withdrawn_is_given_to_nobody);
    tcase_add_test(t, request_and_reply_expire);
    tcase_add_test(t, requests_and_replies_cannot_be_reached_by_clients);
    tcase_add_test(t, limits_are_named);
    suite_add_tcase(s, t);
    runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
