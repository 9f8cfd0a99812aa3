/* SPDX-License-Identifier: Apache-2.0 */
/* The config reader: what is taken, what is refused with which words, includes, overrides, printing. */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/options.h"
#include "tests/unit/base/test-conf.h"

static struct demo demo;
static struct conf_items items;
static struct bus_options bus;
static struct conf_errors errs;
static const struct conf_bind binds[] = {
    {&bus_section, &bus}, {&demo_section, &demo}, {&items_section, &items}};
#define N_BINDS (sizeof binds / sizeof binds[0])
static char dir[64];

static int
load_set(const char *yaml, const char *const *set, size_t n_set)
{
    static const char *const ignored[] = {"", "ws", "http", NULL};
    struct conf_request req = {
        .binds = binds, .n_binds = N_BINDS, .ignored = ignored, .set = set, .n_set = n_set};

    conf_free(binds, N_BINDS);
    return conf_load_memory(&req, "t.yaml", yaml, strlen(yaml), &errs);
}

static int
load(const char *yaml)
{
    return load_set(yaml, NULL, 0);
}

/* The text is refused, and the first error reads so (its beginning). */
static void
refused(const char *yaml, const char *expected)
{
    char line[1024];

    ck_assert_int_eq(load(yaml), -EINVAL);
    ck_assert_uint_gt(errs.n, 0);
    conf_error_format(&errs.at[0], line, sizeof line);
    if (strncmp(line, expected, strlen(expected)) != 0)
        ck_abort_msg("got      %s\nexpected %s", line, expected);
    ck_assert_ptr_null(demo.title); /* all zero after a failure */
    ck_assert_uint_eq(items.n, 0);
}

static void
taken(const char *yaml)
{
    int r = load(yaml);

    if (r != 0)
        conf_errors_print(&errs, stderr);
    ck_assert_int_eq(r, 0);
    ck_assert_uint_eq(errs.n, 0);
}

static void
teardown(void)
{
    conf_free(binds, N_BINDS);
}

START_TEST(test_defaults)
{
    taken("");
    ck_assert(demo.flag);
    ck_assert_uint_eq(demo.count, 10);
    ck_assert_uint_eq(demo.pause_ms, 10000);
    ck_assert_uint_eq(demo.room, 65536);
    ck_assert_str_eq(demo.title, "");
    ck_assert_str_eq(demo.folder, "/var/demo");
    ck_assert_int_eq(demo.mode, 1);
    ck_assert_str_eq(demo.listen.host, "127.0.0.1");
    ck_assert_uint_eq(demo.listen.port, 80);
    ck_assert_uint_eq(demo.names.n, 1);
    ck_assert_str_eq(demo.names.items[0], "*");
    ck_assert_uint_eq(items.n, 0);
    ck_assert_str_eq(bus.runtime_dir, "/run/busbar");
}
END_TEST

START_TEST(test_values)
{
    taken("runtime_dir: /tmp/x\n"
          "demo:\n"
          "  flag: no\n"
          "  count: 100\n"
          "  pause: 1h\n"
          "  room: 1MB\n"
          "  title: no\n" /* a text stays a text */
          "  folder: \"/a b\"\n"
          "  mode: three\n"
          "  listen: '[::1]:443'\n"
          "  names: [a, \"b c\", 3]\n");
    ck_assert(!demo.flag);
    ck_assert_uint_eq(demo.count, 100);
    ck_assert_uint_eq(demo.pause_ms, 3600000);
    ck_assert_uint_eq(demo.room, 1000000);
    ck_assert_str_eq(demo.title, "no");
    ck_assert_str_eq(demo.folder, "/a b");
    ck_assert_int_eq(demo.mode, 2);
    ck_assert_str_eq(demo.listen.host, "::1");
    ck_assert_uint_eq(demo.names.n, 3);
    ck_assert_str_eq(demo.names.items[2], "3");
    ck_assert_str_eq(bus.runtime_dir, "/tmp/x");

    taken("demo: {names: one, listen: '*:0'}"); /* one text is a list of one; * is every address */
    ck_assert_uint_eq(demo.names.n, 1);
    ck_assert_ptr_null(demo.listen.host);
    ck_assert_str_eq(demo.listen.text, "*:0");
    taken("demo: {names: []}");
    ck_assert_uint_eq(demo.names.n, 0);
}
END_TEST

START_TEST(test_empty)
{
    taken("demo:\nitems:\n"); /* everything in them is commented out */
    taken("# only a comment\n");
    taken("ws: {anything: [1, {b: c}]}\nx-mine: 1\n"); /* other processes', other people's */
    taken("demo: ~\nitems: null\n");
    taken("\xef\xbb\xbf"
          "demo: {count: 5}\n"); /* a byte order mark */
    ck_assert_uint_eq(demo.count, 5);
    taken("---\ndemo: {count: 5}\n...\n");
}
END_TEST

START_TEST(test_items)
{
    taken("items:\n"
          "  - match: a\n"
          "    history: {messages: 5, age: 2m}\n"
          "  - match: \"#\"\n"
          "    history:\n"
          "    publish: off\n");
    const struct demo_item *p = items.p;
    ck_assert_uint_eq(items.n, 2);
    ck_assert_str_eq(p[0].match, "a");
    ck_assert_uint_eq(p[0].history_messages, 5);
    ck_assert_uint_eq(p[0].history_age_ms, 120000);
    ck_assert(p[0].publish);
    ck_assert_str_eq(p[1].match, "#");
    ck_assert_uint_eq(p[1].history_messages, 100);
    ck_assert(!p[1].publish);
}
END_TEST

START_TEST(test_refused_names)
{
    refused("demo:\n  cuont: 3\n", "t.yaml:2:3: demo.cuont: unknown option; did you mean count?");
    refused("demo:\n  whatever: 3\n",
        "t.yaml:2:3: demo.whatever: unknown option; known here: flag, count, pause");
    refused("dmo: {}\n", "t.yaml:1:1: dmo: unknown section or option; did you mean demo?");
    refused("htp: {}\n", "t.yaml:1:1: htp: unknown section or option; did you mean http?");
    refused(
        "runtime-dir: /x\n", "t.yaml:1:1: runtime-dir: unknown section or option; did you mean runtime_dir?");
    refused("items:\n- match: a\n  history:\n    mesages: 1\n",
        "t.yaml:4:5: items.history.mesages: unknown option; did you mean messages?");
    refused(
        "items:\n- match: a\n  history.messages: 1\n", "t.yaml:3:3: items.history.messages: unknown option");
    refused("items:\n- {publish: true}\n", "t.yaml:2:3: items.match: must be given, for example a/#");
    refused("demo:\n  old: 1\n", "t.yaml:2:8: demo.old: is not an option any more. Use title.");
    refused("demo:\n  count: 1\n  flag: no\n  count: 2\n",
        "t.yaml:4:3: count is given twice; the first is in line 2");
    refused("demo: {}\nws: {}\ndemo: {}\n", "t.yaml:3:1: demo is given twice");
    refused("include: x.yaml\n", "t.yaml:1:10: include: x.yaml: not from here");
}
END_TEST

START_TEST(test_refused_values)
{
    refused("demo:\n  count: ten\n", "t.yaml:2:10: demo.count: \"ten\" is not a whole number");
    refused("demo:\n  count: 0\n", "t.yaml:2:10: demo.count: 0 is outside 1 to 100");
    refused("demo:\n  count: -1\n", "t.yaml:2:10: demo.count: \"-1\" is not a whole number");
    refused("demo:\n  count: 99999999999999999999999\n",
        "t.yaml:2:10: demo.count: 99999999999999999999999 is outside");
    refused("demo:\n  count:\n", "t.yaml:2:9: demo.count: has no value");
    refused("demo:\n  count: [1]\n", "t.yaml:2:10: demo.count: must be a single value");
    refused("demo:\n  pause: 10\n", "t.yaml:2:10: demo.pause: \"10\" is not a time with its unit");
    refused("demo:\n  pause: 2h\n", "t.yaml:2:10: demo.pause: 2h is outside 0 to 1h");
    refused("demo:\n  room: 1XB\n", "t.yaml:2:9: demo.room: \"1XB\" is not a size");
    refused("demo:\n  title: 123456789\n", "t.yaml:2:10: demo.title: its length of 9 is outside 0 to 8");
    refused("demo:\n  folder: \"\"\n", "t.yaml:2:11: demo.folder: must not be empty");
    refused("demo:\n  flag: 1\n", "t.yaml:2:9: demo.flag: \"1\" is neither true nor false");
    refused("demo:\n  mode: tow\n", "t.yaml:2:9: demo.mode: \"tow\" is not known here; did you mean two? It "
                                    "takes one of one, two, three");
    refused("demo:\n  listen: 80\n", "t.yaml:2:11: demo.listen: \"80\" is not an address");
    refused("demo:\n  listen: 127.0.0.1:65536\n", "t.yaml:2:11: demo.listen: ");
    refused("demo:\n  listen: \"[1.2.3.4]:80\"\n", "t.yaml:2:11: demo.listen: ");
    refused("demo:\n  listen: \"::1:80\"\n", "t.yaml:2:11: demo.listen: ");
    refused("demo:\n  names: [a, b, c, d]\n", "t.yaml:2:10: demo.names: the number of items, 4 is outside");
    refused("demo:\n  names: [a, [b]]\n", "t.yaml:2:14: demo.names: each item must be a text");
    refused("demo:\n  names: {a: b}\n", "t.yaml:2:10: demo.names: must be a list of texts, not a mapping");
    refused("demo: 5\n", "t.yaml:1:7: demo: must be a mapping of options");
    refused("items: {a: b}\n", "t.yaml:1:8: items: must be a list");
    refused("items: [5]\n", "t.yaml:1:9: items: each item must be a mapping");
    refused("items: [{match: a, history: 5}]\n", "t.yaml:1:29: history: must be a mapping of options");
}
END_TEST

START_TEST(test_refused_yaml)
{
    refused("- a\n", "t.yaml:1:1: the file must be a mapping of sections");
    refused("just text\n", "t.yaml:1:1: the file must be a mapping of sections");
    refused("demo: {count: 1\n", "t.yaml:2:1: did not find expected ',' or '}'");
    refused("demo:\n\tcount: 1\n", "t.yaml:2:1: found character that cannot start any token");
    refused("demo: &a {count: 1}\n", "t.yaml:1:7: anchors are not taken");
    refused("demo:\n  title: &a b\n", "t.yaml:2:10: anchors are not taken");
    refused("demo:\n  title: *a\n", "t.yaml:2:10: aliases are not taken");
    refused("demo:\n  <<: {count: 1}\n", "t.yaml:2:3: merge keys are not taken");
    refused("demo:\n  title: !!str b\n", "t.yaml:2:10: tags are not taken");
    refused("demo: !x {count: 1}\n", "t.yaml:1:7: tags are not taken");
    refused("demo: {}\n---\ndemo: {}\n", "t.yaml:2:1: a second document");
    refused("demo:\n  title: \"a\\0b\"\n", "t.yaml:2:10: control characters");
    refused("demo:\n  title: |\n    a\n    b\n", "t.yaml:2:10: control characters and line ends");
    refused("x-a: [[[[[[[[[1]]]]]]]]]\n", "t.yaml:1:13: nested too deeply");
    refused("? [a]\n: b\n", "t.yaml:1:3: the name of an option must be a text");
    refused("demo: \xff\n", "t.yaml: invalid leading UTF-8 octet (at byte 6)");
}
END_TEST

START_TEST(test_many_errors)
{
    char yaml[4096] = "demo:\n";

    for (int i = 0; i < 30; i++)
        (void)snprintf(yaml + strlen(yaml), sizeof yaml - strlen(yaml), "  wrong%d: 1\n", i);
    ck_assert_int_eq(load(yaml), -EINVAL);
    ck_assert_uint_eq(errs.n, CONF_MAX_ERRORS);
    ck_assert_uint_eq(errs.n_more, 10);
    ck_assert_uint_eq(errs.at[19].line, 21);

    /* errors of different kinds in one run */
    ck_assert_int_eq(load("dmo: {}\ndemo: {count: x, flag: y}\nitems: 5\n"), -EINVAL);
    ck_assert_uint_eq(errs.n, 4);
}
END_TEST

START_TEST(test_too_many)
{
    char *yaml = malloc(CONF_MAX_FILE + 2);
    size_t at = 0;

    memset(yaml, '#', CONF_MAX_FILE + 1);
    yaml[CONF_MAX_FILE + 1] = '\0';
    refused(yaml, "t.yaml: larger than");
    for (int i = 0; i < 300; i++)
        at += (size_t)sprintf(yaml + at, "x-%d: 1\n", i);
    refused(yaml, "t.yaml:257:1: too many names in one mapping");
    at = (size_t)sprintf(yaml, "items: [");
    for (unsigned i = 0; i <= CONF_MAX_ITEMS; i++)
        at += (size_t)sprintf(yaml + at, "{match: a}, ");
    (void)sprintf(yaml + at, "]\n");
    refused(yaml, "t.yaml:1:8: items: must be a list, of at most 10000 items");
    free(yaml);
}
END_TEST

/* Every prefix of a good file is taken or refused, and leaves nothing behind. */
START_TEST(test_prefixes)
{
    static const char yaml[] = "runtime_dir: /tmp/x\ndemo: {flag: no, listen: '[::1]:1', names: [a, b]}\n"
                               "items:\n- match: \"a/\\u00e9\"\n  history: {messages: 5}\n";
    char prefix[sizeof yaml];

    for (size_t n = 0; n < sizeof yaml; n++) {
        memcpy(prefix, yaml, n);
        prefix[n] = '\0';
        int r = load(prefix);
        ck_assert(r == 0 || r == -EINVAL);
        ck_assert_int_eq(r == 0, errs.n == 0);
    }
}
END_TEST

START_TEST(test_overrides)
{
    const char *set[] = {
        "demo.listen=*:9", "runtime_dir=rel", "demo.names=a,b", "ws.listen=whatever", "demo.title="};

    ck_assert_int_eq(load_set("demo: {listen: '127.0.0.1:1', title: x}", set, 5), 0);
    ck_assert_uint_eq(demo.listen.port, 9);
    ck_assert_str_eq(bus.runtime_dir, "rel");
    ck_assert_uint_eq(demo.names.n, 2);
    ck_assert_str_eq(demo.title, "");

    static const char *const wrong[][2] = {
        {"demo.lisen=1", "--set: demo.lisen: unknown option; did you mean listen?"},
        {"demo.count=0", "--set: demo.count=0: 0 is outside 1 to 100"},
        {"dem.count=0", "--set: dem: unknown section or option; did you mean demo?"},
        {"demo=1", "--set: demo is a section"}, {"items.match=1", "--set: items is a list"},
        {"demo.count", "--set: demo.count: must be section.option=value"},
        {"=", "--set: : unknown section or option"},
        {"demo.old=1", "--set: demo.old=1: is not an option any more"},
        {"demo.count=\n\x01", "--set: demo.count=??: \"??\" is not"}, /* nobody forges a line */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char line[1024];
        ck_assert_int_eq(load_set("", wrong[i], 1), -EINVAL);
        conf_error_format(&errs.at[0], line, sizeof line);
        ck_assert_msg(strncmp(line, wrong[i][1], strlen(wrong[i][1])) == 0, "%s", line);
    }
}
END_TEST

/* ---- Files. ---- */

static void
write_file(const char *name, const char *text)
{
    char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    (void)fputs(text, f);
    ck_assert_int_eq(fclose(f), 0);
}

static int
load_path(const char *name)
{
    char path[256];
    struct conf_request req = {.path = path, .binds = binds, .n_binds = N_BINDS};

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    conf_free(binds, N_BINDS);
    return conf_load(&req, &errs);
}

static void
setup_dir(void)
{
    char sub[128];

    (void)strcpy(dir, "/tmp/test-conf.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(sub, sizeof sub, "%s/conf.d", dir);
    ck_assert_int_eq(mkdir(sub, 0700), 0);
}

static void
teardown_dir(void)
{
    char command[128];

    teardown();
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

static void
path_refused(const char *name, const char *expected)
{
    ck_assert_int_eq(load_path(name), -EINVAL);
    ck_assert_msg(strstr(errs.at[0].what, expected) != NULL, "%s: %s", errs.at[0].file, errs.at[0].what);
}

START_TEST(test_include)
{
    char expected[128];

    write_file("a.yaml", "include: conf.d/*.yaml\nitems: [{match: last}]\ndemo: {folder: x}\n");
    write_file("conf.d/10.yaml", "demo: {count: 7}\nitems: [{match: first}]\n");
    write_file("conf.d/20.yaml", "include: [../b.yaml]\nitems: [{match: third}]\nruntime_dir: run\n");
    write_file("conf.d/not-this", "dem: {}\n");
    write_file("b.yaml", "items: [{match: second}]\n");
    ck_assert_int_eq(load_path("a.yaml"), 0);
    const struct demo_item *p = items.p;
    ck_assert_uint_eq(items.n, 4);
    ck_assert_str_eq(p[0].match, "first");
    ck_assert_str_eq(p[1].match, "second");
    ck_assert_str_eq(p[2].match, "third");
    ck_assert_str_eq(p[3].match, "last");
    ck_assert_uint_eq(demo.count, 7);
    (void)snprintf(expected, sizeof expected, "%s/x", dir); /* relative to the file that says it */
    ck_assert_str_eq(demo.folder, expected);
    (void)snprintf(expected, sizeof expected, "%s/conf.d/run", dir);
    ck_assert_str_eq(bus.runtime_dir, expected);

    write_file("e.yaml", "include: conf.d/*.none\n"); /* an empty folder is fine */
    ck_assert_int_eq(load_path("e.yaml"), 0);
}
END_TEST

START_TEST(test_include_refused)
{
    char name[32], text[64];

    path_refused("nowhere.yaml", "cannot be read: No such file");
    path_refused("conf.d", "is not a file");
    write_file("a.yaml", "include: b.yaml\ndemo: {count: 7}\n");
    path_refused("a.yaml", "No such file or directory");
    write_file("b.yaml", "\n\ndemo: {count: 8}\n");
    path_refused("a.yaml", "demo.count: is set already in");
    ck_assert_ptr_nonnull(strstr(errs.at[0].what, "b.yaml:3; an option stands in one place"));
    write_file("b.yaml", "include: a.yaml\n");
    path_refused("a.yaml", "the file would include itself");
    write_file("b.yaml", "");
    write_file("a.yaml", "include: [b.yaml, ./b.yaml]\n");
    path_refused("a.yaml", "the file is included a second time");
    write_file("a.yaml", "include: c*/b.yaml\n");
    path_refused("a.yaml", "wildcards may stand in the last part");
    write_file("a.yaml", "include: {a: b}\n");
    path_refused("a.yaml", "must be a path, or a list of paths");
    write_file("a.yaml", "include: [[a]]\n");
    path_refused("a.yaml", "must be a path, or a list of paths");
    for (int i = 0; i < 12; i++) {
        (void)snprintf(name, sizeof name, "deep%d.yaml", i);
        (void)snprintf(text, sizeof text, "include: deep%d.yaml\n", i + 1);
        write_file(name, text);
    }
    path_refused("deep0.yaml", "included too deeply");
    for (int i = 0; i < 70; i++) {
        (void)snprintf(name, sizeof name, "conf.d/%d.yaml", i);
        write_file(name, "");
    }
    write_file("a.yaml", "include: conf.d/*\n");
    path_refused("a.yaml", "more than 64 files");
}
END_TEST

/* ---- The rest. ---- */

START_TEST(test_diff)
{
    struct demo old = {0};
    struct conf_items old_items = {0};
    struct buf names;

    buf_init(&names, 0);
    taken("items: [{match: a}]");
    old = demo;
    old_items = items;
    demo = (struct demo){0};
    items = (struct conf_items){0};
    taken("items: [{match: b}]");
    ck_assert_uint_eq(conf_diff(&demo_section, &old, &demo, &names), 0);
    ck_assert_uint_eq(conf_diff(&items_section, &old_items, &items, &names), 0); /* match is live */
    taken(
        "demo: {listen: '127.0.0.1:81', count: 11, pause: 1s}\nitems: [{match: a, history: {messages: 1}}]");
    ck_assert_uint_eq(conf_diff(&demo_section, &old, &demo, &names), 2);
    ck_assert_uint_eq(conf_diff(&items_section, &old_items, &items, &names), 1);
    buf_put_byte(&names, '\0');
    ck_assert_str_eq((const char *)names.p, "demo.count, demo.listen, items.history.messages");
    buf_fini(&names);
    conf_free(&(struct conf_bind){&demo_section, &old}, 1);
    conf_free(&(struct conf_bind){&items_section, &old_items}, 1);
}
END_TEST

START_TEST(test_nearest)
{
    static const char *const known[] = {"listen", "workers", "path", NULL};

    ck_assert_uint_eq(conf_name_distance("", ""), 0);
    ck_assert_uint_eq(conf_name_distance("listen", "lisen"), 1);
    ck_assert_uint_eq(conf_name_distance("abc", ""), 3);
    ck_assert_uint_eq(conf_name_distance("kitten", "sitting"), 3);
    ck_assert_str_eq(conf_nearest("lissten", known), "listen");
    ck_assert_str_eq(conf_nearest("worker", known), "workers");
    ck_assert_ptr_null(conf_nearest("timeout", known));
    ck_assert_ptr_null(conf_nearest("", known));
}
END_TEST

START_TEST(test_units)
{
    uint64_t v = 0;

    ck_assert_int_eq(conf_parse_time("250ms", &v), 0);
    ck_assert_uint_eq(v, 250);
    ck_assert_int_eq(conf_parse_time("1d", &v), 0);
    ck_assert_uint_eq(v, 86400000);
    ck_assert_int_eq(conf_parse_time("2 m", &v), 0);
    ck_assert_uint_eq(v, 120000);
    ck_assert_int_eq(conf_parse_time("1.5s", &v), -EINVAL);
    ck_assert_int_eq(conf_parse_time("s", &v), -EINVAL);
    ck_assert_int_eq(conf_parse_time("5s ", &v), -EINVAL);
    ck_assert_int_eq(conf_parse_time("18446744073709551615d", &v), -ERANGE);
    ck_assert_int_eq(conf_parse_bytes("16MiB", &v), 0);
    ck_assert_uint_eq(v, 16777216);
    ck_assert_int_eq(conf_parse_bytes("4096", &v), 0);
    ck_assert_uint_eq(v, 4096);
    ck_assert_int_eq(conf_parse_bytes("16777216TiB", &v), -ERANGE);
    ck_assert_int_eq(conf_parse_bytes("0x10", &v), -EINVAL);
    ck_assert_int_eq(conf_parse_count("18446744073709551615", &v), 0);
    ck_assert_int_eq(conf_parse_count("18446744073709551616", &v), -ERANGE);
    ck_assert_int_eq(conf_parse_count("+1", &v), -EINVAL);
}
END_TEST

/* Takes the # away from every option of a sample. */
static void
uncomment(char *text)
{
    char *to = text;

    for (char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n"), margin = strspn(line, " ");
        bool is_option = line[margin] == '#' && (line[margin + 1] != ' ' || line[margin + 2] == ' ');
        bool is_include = strncmp(line, "#include", 8) == 0;
        size_t skip = is_option && !is_include ? 1 : 0;
        memmove(to, line, margin);
        memmove(to + margin, line + margin + skip, n - margin - skip);
        to += n - skip;
        line += n;
        if (*line == '\n')
            *to++ = *line++;
    }
    *to = '\0';
}

START_TEST(test_sample)
{
    const struct conf_section *sections[] = {&bus_section, &demo_section, &items_section};
    struct buf out;

    buf_init(&out, 0);
    conf_sample(&out, sections, 3);
    buf_put_byte(&out, '\0');
    ck_assert(!buf_failed(&out));
    taken((const char *)out.p); /* as it is: all defaults */
    ck_assert_uint_eq(items.n, 0);
    uncomment((char *)out.p);
    ck_assert_ptr_nonnull(strstr((char *)out.p, "\n  - match: \"a/#\"\n"));
    ck_assert_ptr_nonnull(strstr((char *)out.p, "\n    history:\n"));
    ck_assert_ptr_nonnull(strstr((char *)out.p, "\n  names: [\"*\"]\n"));
    taken((const char *)out.p);
    ck_assert_uint_eq(items.n, 1);
    ck_assert_uint_eq(((struct demo_item *)items.p)->history_messages, 100);
    ck_assert_uint_eq(demo.count, 10);

    buf_reset(&out);
    conf_man(&out, sections, 3);
    buf_put_byte(&out, '\0');
    ck_assert_ptr_nonnull(strstr((char *)out.p, ".It Ic items.history.messages Ar number\n"));
    buf_fini(&out);
}
END_TEST

START_TEST(test_tables)
{
    ck_assert_int_eq(conf_check_section(&demo_section, &errs), 0);
    ck_assert_int_eq(conf_check_section(&items_section, &errs), 0);
    ck_assert_int_eq(conf_check_section(&bus_section, &errs), 0);
    ck_assert_int_eq(conf_check_section(&log_section, &errs), 0);

    static const struct conf_row wrong[] = {
        {.name = "a", .type = CONF_TIME, .def = "1s", .min = "2s", .max = "", .hint = "", .sentence = "S."}};
    static const struct conf_section section = {
        .name = "w", .sentence = "S.", .rows = wrong, .n_rows = 1, .struct_size = sizeof(uint64_t)};
    ck_assert_int_eq(conf_check_section(&section, &errs), -EINVAL);
    ck_assert_str_eq(errs.at[0].what, "a: the default is not inside its bounds");
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("conf");
    TCase *memory = tcase_create("memory"), *files = tcase_create("files");

    tcase_add_checked_fixture(memory, NULL, teardown);
    tcase_add_test(memory, test_defaults);
    tcase_add_test(memory, test_values);
    tcase_add_test(memory, test_empty);
    tcase_add_test(memory, test_items);
    tcase_add_test(memory, test_refused_names);
    tcase_add_test(memory, test_refused_values);
    tcase_add_test(memory, test_refused_yaml);
    tcase_add_test(memory, test_many_errors);
    tcase_add_test(memory, test_too_many);
    tcase_add_test(memory, test_prefixes);
    tcase_add_test(memory, test_overrides);
    tcase_add_test(memory, test_diff);
    tcase_add_test(memory, test_nearest);
    tcase_add_test(memory, test_units);
    tcase_add_test(memory, test_sample);
    tcase_add_test(memory, test_tables);
    suite_add_tcase(s, memory);
    tcase_add_checked_fixture(files, setup_dir, teardown_dir);
    tcase_add_test(files, test_include);
    tcase_add_test(files, test_include_refused);
    suite_add_tcase(s, files);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int n_failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return n_failed == 0 ? 0 : 1;
}
