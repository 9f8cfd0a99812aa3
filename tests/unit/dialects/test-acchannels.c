/* SPDX-License-Identifier: Apache-2.0 */
/* From identifiers to topics: items of the config, what is built in, signed names as Rails made them. */
#include "config.h"

#include "frontends/dialects/actioncable/acchannels.h"

#include "frontends/dialects/actioncable/acsigned.h"
#include "frontends/dialects/actioncable/options.h"

#include <stdio.h>

#include "tests/unit/sdk/suite.h"

/* ActiveSupport::MessageVerifier.new("s3cr3t", digest: "SHA256", serializer: JSON).generate(...) of Rails
 * 6.1. */
#define CHAT_1 "ImNoYXQvMSI=--4fad0ef026b7dd5346ec9b5051899d257b3cf3b6bb9ce238415ba287144dac83"
#define TURBO_STREAM                                                                                         \
    "IloybGtPaTh2WVhCd0wxSnZiMjB2TVE6bWVzc2FnZXMi--"                                                         \
    "51612091d39dbc33ecc4b9400529ddec313c24cd640c9c293a305e35008c05ba"
#define CAFE "ImNhZsOpL/CfmIAi--3ea84d075372de503a6ecbd98c10cccbd0c0bb22d251f963845fc1da319a8488"
#define AN_OBJECT "eyJhIjoxfQ==--623fe2d6b230b883ac51945c609d782ea6b79cddae9f2fae8a0436176b5d6f55"
#define WITH_PURPOSE                                                                                         \
    "eyJfcmFpbHMiOnsibWVzc2FnZSI6IkltTm9ZWFF2TVNJPSIsImV4cCI6bnVsbCwicHVyIjoieCJ9fQ==--"                     \
    "96114c8a438b6b1ddaf5724ead21c8d7df7a899dd952cac0bf7a8f3ffbc05184"
#define WITH_SHA1 "ImNoYXQvMSI=--6fd362fa6f7624f13265192fbbddeed847049552"
/* Base64.urlsafe_encode64(JSON, padding: false), and the same HMAC. */
#define URL_SAFE "ImF-fj4_Pj8vw7_Dv8O_PyI--0ad7f6a7396171bf2ac18f04029c2bcc3fa11d541962a35ccbf648e58c430a0f"
#define NO_JSON "eyJub3QiOiJhIG5hbWU--d9d8b50f7a03f1feb821b39a4020e0ced063cf7e1a32ed9ab3580f519d03e53c"
#define A_PLUS "ImErYiI=--170928d5cc49bde8958a001c46eaacfd7b992910155fa72edc5cc17f4561a3c2"
#define A_HASH "IiMveCI=--66bc179cf1230f5ad8bef0123409cd37a01f66ba801e5401895dd31337866b9b"
#define A_DOLLAR "IiRzeXMveCI=--74ea5ed51de1f992c1fc8c259086ca546611c14903bfa09bb1181b7d50f20120"

static struct buf out;
static struct conf_items items;
static struct acchannels channels;
static struct conf_errors errors;
static const char *claims;

static void
check_channels(struct conf_check *check, void *arg)
{
    channel_options_check(check, arg);
}

static int
load(const char *text)
{
    const struct conf_bind binds[] = {{&channels_section, &items}};
    struct conf_request request = {
        .binds = binds, .n_binds = 1, .check = check_channels, .check_arg = &items};

    conf_free(binds, 1);
    return conf_load_memory(&request, "test.yaml", text, strlen(text), &errors);
}

static void
setup(void)
{
    buf_init(&out, 0);
    claims = NULL;
    ck_assert_msg(load("channels:\n"
                       "- channel: ChatChannel\n"
                       "  stream: chat/{room}\n"
                       "  publish: [speak, receive]\n"
                       "- channel: Mail\n"
                       "  stream: ['mail/{claim:sub}', 'mail/of/{claim:ext.team.name}/{folder}', news]\n"
                       "  publish: [mark, 'odd/one']\n"
                       "  publish_topic: 'services/{claim:sub}/{action}'\n"
                       "  request: ask\n"
                       "  request_topic: 'ask/{folder}/{action}'\n"
                       "  presence: true\n"
                       "  whisper: true\n"
                       "- channel: 'CableReady::Stream'\n"
                       "  stream: '{signed:identifier}'\n"
                       "- channel: Prefixed\n"
                       "  stream: 'rails/{turbo:name}/{part}'\n") == 0,
        "%s", errors.at[0].what);
    channels = (struct acchannels){
        .items = &items, .streams_secret = slice_str("s3cr3t"), .turbo_secret = slice_str("s3cr3t")};
}

static void
teardown(void)
{
    const struct conf_bind binds[] = {{&channels_section, &items}};

    conf_free(binds, 1);
    buf_fini(&out);
}

static struct acresolved
resolve(const char *identifier)
{
    const struct acchannels_subscription s = {
        .identifier = slice_str(identifier), .claims = slice_str(claims), .max_depth = 16};
    struct acresolved r;

    acchannels_resolve(&channels, &s, &out, &r);
    ck_assert_msg((r.refused == NULL) == (r.n_streams > 0), "%s", identifier);
    return r;
}

/* streams: each with a space behind it. */
static void
gives(const char *identifier, const char *streams)
{
    struct acresolved r = resolve(identifier);
    char seen[4096] = "";

    ck_assert_msg(r.refused == NULL, "%s: %s", identifier, r.refused);
    for (size_t i = 0; i < r.n_streams; i++) {
        ck_assert_uint_lt(r.streams[i].n, 1025);
        strncat(seen, (const char *)r.streams[i].p, r.streams[i].n);
        strcat(seen, " ");
    }
    ck_assert_str_eq(seen, streams);
}

static void
refuses(const char *identifier, const char *why)
{
    struct acresolved r = resolve(identifier);

    ck_assert_msg(r.refused != NULL, "%s was taken: %.*s", identifier, SLICE_ARG(r.streams[0]));
    ck_assert_msg(strstr(r.refused, why) != NULL, "%s: \"%s\", not \"%s\"", identifier, r.refused, why);
}

START_TEST(test_params)
{
    gives("{\"channel\":\"ChatChannel\",\"room\":1}", "chat/1 ");
    gives("{\"room\":\"a b:\\u00e9\\\"\",\"channel\":\"Chat\\u0043hannel\"}", "chat/a b:\xc3\xa9\" ");
    gives("{\"channel\":\"ChatChannel\",\"room\":true}", "chat/true ");
    gives("{\"channel\":\"ChatChannel\",\"room\":-1.5}", "chat/-1.5 ");
    gives("{\"channel\":\"ChatChannel\",\"room\":1,\"room\":2}", "chat/2 ");
    refuses("{\"channel\":\"ChatChannel\"}", "missing");
    refuses("{\"channel\":\"ChatChannel\",\"room\":null}", "missing");
    refuses("{\"channel\":\"ChatChannel\",\"room\":[1]}", "neither text");
    refuses("{\"channel\":\"ChatChannel\",\"room\":{\"a\":1}}", "neither text");
    refuses("{\"channel\":\"ChatChannel\",\"room\":\"\"}", "empty");
    refuses("{\"channel\":\"ChatChannel\",\"room\":\"1/2\"}", "a /");
    refuses("{\"channel\":\"ChatChannel\",\"room\":\"1\\u002f2\"}", "a /");
    refuses("{\"channel\":\"ChatChannel\",\"room\":\"+\"}", "characters");
    refuses("{\"channel\":\"ChatChannel\",\"room\":\"a#\"}", "characters");
    refuses("{\"channel\":\"ChatChannel\",\"room\":1e+5}", "characters");
    refuses("{\"channel\":\"ChatChannel\",\"room\":\"$sys\"}", "begins with $");
    refuses("{\"channel\":\"ChatChannel\",\"room\":\"a\\u0000b\"}", "characters");
    refuses("{\"channel\":\"ChatChannel\",\"room\":\"a\\nb\"}", "characters");
    refuses("{\"channel\":\"chatchannel\",\"room\":1}", "no such channel");
    refuses("{\"channel\":\"ChatChannel \",\"room\":1}", "no such channel");
    refuses("{\"room\":1}", "channel");
    refuses("{\"channel\":7}", "channel");
    refuses("ChatChannel", "channel");
    refuses("[\"ChatChannel\"]", "channel");
    refuses("{\"channel\":\"ChatChannel\",\"room\":1", "channel");
    refuses("", "channel");
}
END_TEST

START_TEST(test_long_values)
{
    char identifier[3000] = "{\"channel\":\"ChatChannel\",\"room\":\"";

    memset(identifier + strlen(identifier), 'x', 1019);
    strcat(identifier, "\"}");
    ck_assert_ptr_null(resolve(identifier).refused);
    identifier[strlen(identifier) - 2] = 'x';
    strcat(identifier, "\"}");
    ck_assert_ptr_nonnull(resolve(identifier).refused);
}
END_TEST

START_TEST(test_claims)
{
    static const char mail[] = "{\"channel\":\"Mail\",\"folder\":\"in\"}";

    refuses(mail, "token");
    claims = "{\"sub\":\"ann\",\"ext\":{\"team\":{\"name\":7}}}";
    gives(mail, "mail/ann mail/of/7/in news ");
    claims = "{\"sub\":\"ann\",\"ext\":\"{\\\"team\\\":{\\\"name\\\":\\\"x\\\"}}\"}"; /* as AnyCable has it */
    gives(mail, "mail/ann mail/of/x/in news ");
    claims = "{\"sub\":\"ann\",\"ext\":\"{\\\"team\\\":\\\"{\\\\\\\"name\\\\\\\":1}\\\"}\"}";
    gives(mail, "mail/ann mail/of/1/in news ");
    claims = "{\"sub\":\"ann\",\"ext\":{\"team\":7}}";
    refuses(mail, "claim");
    claims = "{\"sub\":\"ann\",\"ext\":\"not JSON\"}";
    refuses(mail, "claim");
    claims = "{\"sub\":\"ann\"}";
    refuses(mail, "claim");
    claims = "{\"sub\":\"a/b\",\"ext\":{\"team\":{\"name\":7}}}";
    refuses(mail, "a /");
    claims = "{\"sub\":\"ann\",\"ext\":{\"team\":{\"name\":{}}}}";
    refuses(mail, "neither text");
    ck_assert_ptr_nonnull(resolve(mail).refused);
}
END_TEST

START_TEST(test_signed)
{
    gives("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" CHAT_1 "\"}", "chat/1 ");
    gives("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" CAFE "\"}", "caf\xc3\xa9/\xf0\x9f\x98\x80 ");
    gives("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" URL_SAFE "\"}",
        "a~~>?>?/\xc3\xbf\xc3\xbf\xc3\xbf? ");
    gives("{\"channel\":\"Turbo::StreamsChannel\",\"signed_stream_name\":\"" TURBO_STREAM "\"}",
        "Z2lkOi8vYXBwL1Jvb20vMQ:messages ");
    gives("{\"channel\":\"CableReady::Stream\",\"identifier\":\"" CHAT_1 "\"}", "chat/1 ");
    gives("{\"channel\":\"Prefixed\",\"name\":\"" CHAT_1 "\",\"part\":\"a\"}", "rails/chat/1/a ");
    refuses("{\"channel\":\"Prefixed\",\"name\":\"" CHAT_1 "\",\"part\":\"a/b\"}", "a /");
    refuses("{\"channel\":\"Prefixed\",\"name\":\"chat/1\",\"part\":\"a\"}", "not signed");
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" AN_OBJECT "\"}", "no name");
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" WITH_PURPOSE "\"}", "no name");
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" NO_JSON "\"}", "no name");
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" WITH_SHA1 "\"}", "not signed");
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" A_PLUS "\"}", "");
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" A_HASH "\"}", "");
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" A_DOLLAR "\"}", "bus's own");
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"chat/1\"}", "not signed");
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"\"}", "not signed");
    refuses("{\"channel\":\"Turbo::StreamsChannel\"}", "no signed name");
    refuses("{\"channel\":\"Turbo::StreamsChannel\",\"signed_stream_name\":7}", "no signed name");
    /* A name that is not signed does not help one that is signed badly. */
    channels.has_public_streams = true;
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"x\",\"stream_name\":\"y\"}", "not signed");
    channels.streams_secret = slice_str("other");
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" CHAT_1 "\"}", "signature is wrong");
    channels.streams_secret = slice_of(NULL, 0);
    refuses("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" CHAT_1 "\"}", "no secret");
}
END_TEST

/* Each byte that is changed, and each that is left out, breaks it. */
START_TEST(test_signature_covers_everything)
{
    static const char good[] = CHAT_1;
    char text[sizeof good];

    ck_assert_ptr_null(acsigned_verify(slice_str(good), slice_str("s3cr3t"), &out));
    for (size_t i = 0; i < sizeof good - 1; i++) {
        memcpy(text, good, sizeof good);
        text[i] ^= 1;
        ck_assert_ptr_nonnull(acsigned_verify(slice_str(text), slice_str("s3cr3t"), &out));
        ck_assert_ptr_nonnull(acsigned_verify(slice_of(good, i), slice_str("s3cr3t"), &out));
    }
}
END_TEST

START_TEST(test_public)
{
    refuses("{\"channel\":\"$pubsub\",\"stream_name\":\"chat/1\"}", "not allowed");
    channels.has_public_streams = true;
    gives("{\"channel\":\"$pubsub\",\"stream_name\":\"chat/1\"}", "chat/1 ");
    gives("{\"channel\":\"$pubsub\",\"stream_name\":\"a:b\"}", "a:b ");
    refuses("{\"channel\":\"$pubsub\",\"stream_name\":\"\"}", "");
    refuses("{\"channel\":\"$pubsub\",\"stream_name\":\"chat/+\"}", "");
    refuses("{\"channel\":\"$pubsub\",\"stream_name\":\"#\"}", "");
    refuses("{\"channel\":\"$pubsub\",\"stream_name\":\"$sys/broker\"}", "bus's own");
    refuses("{\"channel\":\"$pubsub\",\"stream_name\":7}", "no stream");
    refuses("{\"channel\":\"$pubsub\"}", "no stream");
    refuses("{\"channel\":\"$other\"}", "no such channel");
}
END_TEST

START_TEST(test_whispers)
{
    channels.has_public_streams = true;
    ck_assert(resolve("{\"channel\":\"$pubsub\",\"stream_name\":\"a\"}").may_whisper);
    ck_assert(!resolve("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" CHAT_1 "\"}").may_whisper);
    ck_assert(!resolve("{\"channel\":\"ChatChannel\",\"room\":1}").may_whisper);
    channels.has_whispers = true;
    ck_assert(resolve("{\"channel\":\"$pubsub\",\"signed_stream_name\":\"" CHAT_1 "\"}").may_whisper);
    ck_assert(!resolve("{\"channel\":\"ChatChannel\",\"room\":1}").may_whisper);
}
END_TEST

static void
publishes(const char *identifier, const char *action, const char *topic)
{
    const struct acchannels_subscription s = {
        .identifier = slice_str(identifier), .claims = slice_str(claims), .max_depth = 16};
    struct acresolved r = resolve(identifier);
    struct acchannels_target seen = {0};
    const char *error = acchannels_action(&channels, &s, &r, slice_str(action), &out, &seen);

    ck_assert_msg((error == NULL) == (topic != NULL), "%s: %s", action, error == NULL ? "taken" : error);
    ck_assert_msg(topic == NULL || slice_is(seen.topic, topic), "%s: %.*s", action, SLICE_ARG(seen.topic));
    ck_assert(topic == NULL || seen.is_request == (strncmp(action, "ask", 3) == 0));
}

START_TEST(test_actions)
{
    static const char mail[] = "{\"channel\":\"Mail\",\"folder\":\"in\"}";

    publishes("{\"channel\":\"ChatChannel\",\"room\":1}", "speak", "chat/1");
    publishes("{\"channel\":\"ChatChannel\",\"room\":1}", "receive", "chat/1");
    publishes("{\"channel\":\"ChatChannel\",\"room\":1}", "shout", NULL);
    claims = "{\"sub\":\"ann\",\"ext\":{\"team\":{\"name\":7}}}";
    publishes(mail, "mark", "services/ann/mark");
    publishes(mail, "odd/one", NULL);
    publishes(mail, "ask", "ask/in/ask");
    ck_assert(resolve(mail).may_join && !resolve("{\"channel\":\"ChatChannel\",\"room\":1}").may_join);
    channels.has_public_streams = true;
    publishes("{\"channel\":\"$pubsub\",\"stream_name\":\"a\"}", "receive", NULL);
}
END_TEST

static void
complains(const char *yaml, const char *what)
{
    ck_assert_msg(load(yaml) < 0, "%s was taken", yaml);
    ck_assert_msg(strstr(errors.at[0].what, what) != NULL, "%s: %s", yaml, errors.at[0].what);
    ck_assert_uint_gt(errors.at[0].line, 0);
}

START_TEST(test_config)
{
    complains("channels: [{channel: A, stream: 'a/{b'}]", "not closed");
    complains("channels: [{channel: A, stream: 'a/}b'}]", "not opened");
    complains("channels: [{channel: A, stream: 'a/{}'}]", "no name");
    complains("channels: [{channel: A, stream: 'a/{b{c}}'}]", "not closed");
    complains("channels: [{channel: A, stream: 'a/#'}]", "no topic");
    complains("channels: [{channel: A, stream: '$sys/{b}'}]", "bus's own");
    complains("channels: [{channel: A, stream: 'a/{action}'}]", "action");
    complains("channels: [{channel: A, stream: a, publish_topic: 'a/+'}]", "publish_topic");
    complains("channels: [{channel: A, stream: a, request: b}]", "request_topic");
    complains("channels: [{channel: A, stream: a, request: b, request_topic: '{b'}]", "not closed");
    complains("channels: [{channel: A, stream: a, request: b, publish: [a, b], request_topic: c}]", "too");
    complains("channels: [{channel: A}]", "must be given");
    complains("channels: [{channel: $pubsub, stream: a}]", "built in");
    complains("channels: [{channel: A, stream: a}, {channel: A, stream: b}]", "already");
    ck_assert_int_eq(
        load("channels: [{channel: A, stream: [a, a, '{b}{c}-{b}'], publish: x, publish_topic: '{action}'}]"),
        0);
    gives("{\"channel\":\"A\",\"b\":1,\"c\":2}", "a 12-1 ");
}
END_TEST

START_TEST(test_table)
{
    ck_assert_msg(conf_check_section(&channels_section, &errors) == 0, "%s", errors.at[0].what);
}
END_TEST

static void
check_hex(const uint8_t *p, const char *hex)
{
    char seen[2 * ACSIGNED_TURBO_SECRET_SIZE + 1];

    for (unsigned i = 0; i < ACSIGNED_TURBO_SECRET_SIZE; i++)
        (void)snprintf(seen + 2 * i, 3, "%02x", p[i]);
    ck_assert_str_eq(seen, hex);
}

/* ActiveSupport::KeyGenerator.new(..., iterations: 1000).generate_key("turbo/signed_stream_verifier_key") */
START_TEST(test_turbo_secret)
{
    uint8_t secret[ACSIGNED_TURBO_SECRET_SIZE];

    ck_assert_int_eq(acsigned_turbo_secret(slice_str("secret_key_base of a test"), true, secret), 0);
    check_hex(secret, "a3ae0592f217cdd533a61335653f79c6d7f4da7205d6f7a3393d033c1f2267fe"
                      "fda7082f0a0a823d2749278339afbb155f621d8e992ea7d4c15c707ebce14ad4");
    ck_assert_int_eq(acsigned_turbo_secret(slice_str("secret_key_base of a test"), false, secret), 0);
    check_hex(secret, "86b77badfd46c40dca24be3d91ac32462c85eca6740ff9df3ead9d5604cd5c23"
                      "db81bf90c6a4a6c182d3629a34c46945a9a5ef57a6373d35745b92aa962e9d31");
}
END_TEST

SUITE_MAIN_WITH("acchannels", setup, teardown, test_params, test_long_values, test_claims, test_signed,
    test_signature_covers_everything, test_public, test_whispers, test_actions, test_config, test_table,
    test_turbo_secret)
