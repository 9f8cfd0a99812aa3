/* SPDX-License-Identifier: Apache-2.0 */
/* busbar check-config: loads everything, as `busbar up` would, and says what is wrong; for people or as JSON.
 */
#include "config.h"

#include "cli/commands.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/proc.h"
#include "base/utf8.h"
#include "cli/allconf.h"
#include "frontends/sdk/options.h"

struct check_args {
    struct proc_args proc;
    bool is_json;
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"help", no_argument, NULL, 'h'},
    {"json", no_argument, NULL, 'j'},
    {"set", required_argument, NULL, 's'},
    {0},
};

static const char help[] =
    "usage: busbar check-config [-c FILE] [--set SECTION.OPTION=VALUE]... [--json]\n"
    "Checks a configuration: every section, with what it includes. Exit code 0 if it is right, 3 if not.\n\n"
    "  -c, --config FILE   the configuration (default: where `busbar up` looks)\n"
    "  --set NAME=VALUE    one option, over the file\n"
    "  --json              the result as one object: {\"ok\": bool, \"errors\": [{file, line, column, "
    "message}]}\n";

/* 0: go on; 1: end with *ret_exit. */
static int
parse_args(struct check_args *ret, int argc, char **argv, int *ret_exit)
{
    int c;

    while ((c = getopt_long(argc, argv, "c:h", long_options, NULL)) != -1) {
        if (c == 'c') {
            ret->proc.config = optarg;
        } else if (c == 'j') {
            ret->is_json = true;
        } else if (c == 's' && ret->proc.n_set < PROC_MAX_SET) {
            ret->proc.set[ret->proc.n_set++] = optarg;
        } else {
            *ret_exit = c == 'h' ? PROC_EXIT_OK : PROC_EXIT_USAGE;
            (void)fputs(help, c == 'h' ? stdout : stderr);
            return 1;
        }
    }
    if (optind < argc && ret->proc.config == NULL) /* `busbar check-config FILE` is what people type */
        ret->proc.config = argv[optind++];
    if (optind < argc) {
        (void)fprintf(stderr, "busbar check-config: %s: one file at a time\n", argv[optind]);
        *ret_exit = PROC_EXIT_USAGE;
        return 1;
    }
    if (ret->proc.config == NULL)
        ret->proc.config = proc_default_config();
    return 0;
}

static void
put_error(struct buf *out, const struct conf_error *e)
{
    buf_put_str(out, "{\"file\": ");
    bool is_utf8 = utf8_is_valid(e->file, strlen(e->file)); /* a path may be anything */
    json_put_string(out, slice_str(is_utf8 ? e->file : "?"));
    if (e->line > 0)
        buf_printf(out, ", \"line\": %u, \"column\": %u", e->line, e->column);
    buf_put_str(out, ", \"message\": ");
    json_put_string(out, slice_str(e->what));
    buf_put_byte(out, '}');
}

static int
print_json(const struct conf_errors *errs)
{
    struct buf out;

    buf_init(&out, 0);
    buf_printf(&out, "{\"ok\": %s, \"errors\": [", errs->n == 0 ? "true" : "false");
    for (size_t i = 0; i < errs->n; i++) {
        buf_put_str(&out, i > 0 ? ",\n  " : "\n  ");
        put_error(&out, &errs->at[i]);
    }
    buf_printf(&out, "%s], \"more\": %zu}\n", errs->n > 0 ? "\n" : "", errs->n_more);
    bool is_written = !buf_failed(&out) && fwrite(out.p, 1, out.n, stdout) == out.n && fflush(stdout) == 0;
    buf_fini(&out);
    return is_written ? 0 : -1;
}

/* What a start warns of too. */
static void
print_doubts(const struct allconf *conf)
{
    struct allconf_frontend f[ALLCONF_N_FRONTENDS];

    allconf_frontends(conf, f);
    for (size_t i = 0; i < ALLCONF_N_FRONTENDS; i++) {
        const char *doubt = f[i].is_enabled ? tls_options_doubt(f[i].tls) : NULL;

        if (doubt != NULL)
            (void)fprintf(stderr, "warning: %s.tls.certificate: \"%s\" %s: clients will refuse it\n",
                f[i].name, f[i].tls->certificate, doubt);
    }
}

int
command_check_config(int argc, char **argv)
{
    static struct conf_errors errs;
    struct check_args args = {0};
    struct allconf conf = {0};
    int exit_code;

    if (parse_args(&args, argc, argv, &exit_code) != 0)
        return exit_code;
    int r = allconf_load_to_run(&conf, &args.proc, &errs);
    if (r == 0)
        print_doubts(&conf);
    allconf_free(&conf);
    if (args.is_json) {
        if (print_json(&errs) < 0)
            return PROC_EXIT_FAILURE;
    } else if (r < 0) {
        conf_errors_print(&errs, stderr);
    } else if (args.proc.config != NULL) {
        (void)printf("%s: fine\n", args.proc.config);
    } else {
        (void)printf("no configuration file: every option has its default\n");
    }
    return r < 0 ? PROC_EXIT_CONFIG : PROC_EXIT_OK;
}
