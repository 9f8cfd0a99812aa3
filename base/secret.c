/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

/* Everybody on the machine may read it. */
static void
secret_check_mode(int fd, const char *file, const char *what)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IROTH) != 0)
        log_warn("%s: everybody may read %s: chmod o-r it", what, file);
}

static int
secret_read(int fd, struct buf *ret)
{
    for (;;) {
        uint8_t *room = buf_reserve(ret, 4096);
        ssize_t n;

        if (room == NULL)
            return ret->n > SECRET_MAX ? -EFBIG : -ENOMEM;
        n = read(fd, room, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return ret->n > SECRET_MAX ? -EFBIG : 0;
        buf_commit(ret, (size_t)n);
    }
}

static int
secret_load_file(const char *file, const char *what, struct buf *ret)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC), r;

    if (fd < 0) {
        r = -errno;
        log_error("%s: %s: %s", what, file, strerror(-r));
        return r;
    }
    secret_check_mode(fd, file, what);
    r = secret_read(fd, ret);
    close(fd);
    while (r == 0 && ret->n > 0 && (ret->p[ret->n - 1] == '\n' || ret->p[ret->n - 1] == '\r'))
        ret->n--;
    if (r == 0 && ret->n == 0)
        r = -ENODATA;
    if (r < 0)
        log_error("%s: %s: %s", what, file, r == -ENODATA ? "it is empty" : strerror(-r));
    return r;
}

int
secret_load(const char *file, const char *env, const char *what, struct buf *ret)
{
    const char *value;

    buf_init(ret, SECRET_MAX + 8192);
    if (file[0] != '\0' && env[0] != '\0') {
        log_error("%s: name a file or a variable of the environment, not both", what);
        return -EINVAL;
    }
    if (file[0] != '\0') {
        int r = secret_load_file(file, what, ret);

        if (r < 0)
            secret_fini(ret);
        return r;
    }
    if (env[0] == '\0')
        return 0;
    value = getenv(env);
    if (value == NULL || value[0] == '\0') {
        log_error("%s: the environment has no %s", what, env);
        return -ENODATA;
    }
    buf_put_str(ret, value);
    return buf_failed(ret) ? -ENOMEM : 0;
}

void
secret_fini(struct buf *secret)
{
    if (secret->p != NULL)
        explicit_bzero(secret->p, secret->cap);
    buf_fini(secret);
}
