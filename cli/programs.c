/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the programs that `busbar up` runs. Never by $PATH: the versions must fit. */
#include "config.h"

#include "cli/programs.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The folder of this executable. */
static int
own_dir(char *ret, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", ret, size - 1);

    if (n <= 0)
        return -ENOENT;
    ret[n] = '\0';
    char *slash = strrchr(ret, '/');
    if (slash == NULL)
        return -ENOENT;
    *slash = '\0';
    return 0;
}

static bool
try_path(char *ret, size_t size, const char *dir, const char *sub, const char *name)
{
    int n = snprintf(ret, size, "%s/%s%sbusbar-%s", dir, sub, sub[0] != '\0' ? "/" : "", name);

    return n > 0 && (size_t)n < size && access(ret, X_OK) == 0;
}

int
programs_find(const char *name, char *ret, size_t ret_size, char *ret_what, size_t what_size)
{
    const char *libexec = getenv("BUSBAR_LIBEXEC");
    char dir[PATH_MAX] = "", sub[64], path[PATH_MAX + 128];
    bool is_found;

    if (libexec != NULL && libexec[0] != '\0') {
        (void)snprintf(dir, sizeof dir, "%s", libexec);
        is_found = try_path(path, sizeof path, dir, "", name);
    } else {
        (void)snprintf(sub, sizeof sub, "%s%s", strcmp(name, "broker") == 0 ? "../" : "../frontends/", name);
        is_found = own_dir(dir, sizeof dir) == 0 && (try_path(path, sizeof path, dir, "", name) ||
                                                        try_path(path, sizeof path, dir, sub, name));
        is_found = is_found || try_path(path, sizeof path, BINDIR, "", name);
    }
    if (!is_found || strlen(path) >= ret_size) {
        (void)snprintf(ret_what, what_size, "busbar-%s is not in %.300s: is the installation whole?", name,
            dir[0] != '\0' ? dir : BINDIR);
        return -ENOENT;
    }
    memcpy(ret, path, strlen(path) + 1);
    return 0;
}
