/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files are read when they are asked for: they are few and small, and the page that a developer edits is the
 * page that the browser gets. A name is looked for in static_dir, then among the console's own files.
 */
#include "config.h"

#include "frontends/http/httpstatic.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "frontends/http/httpmain.h"
#include "frontends/http/options.h"

enum { ROOT_STATIC, ROOT_CONSOLE, ROOT_CLIENT, N_ROOTS };

struct httpstatic {
    const struct http_options *options;
    const struct http_main *where;
    int roots[N_ROOTS]; /* descriptors of folders, -1 for none */
};

static int
open_folder(const char *path)
{
    return path == NULL || path[0] == '\0' ? -1 : open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Where it was installed; else beside this program, which was moved with its prefix (or put elsewhere by
 * DESTDIR). */
static int
open_console(void)
{
    static const char beside[] = "../share/" PACKAGE "/console";
    const char *told = getenv("BUSBAR_CONSOLE"); /* set by ./dev and the tests, in a source tree */
    char path[PATH_MAX + sizeof beside];

    if (told != NULL)
        return open_folder(told);
    int fd = open_folder(PKGDATADIR "/console");
    ssize_t n = fd >= 0 ? 0 : readlink("/proc/self/exe", path, PATH_MAX);
    while (n > 0 && path[n - 1] != '/')
        n--;
    if (n <= 0)
        return fd;
    memcpy(path + n, beside, sizeof beside);
    return open_folder(path);
}

int
httpstatic_new(const struct http_options *options, const struct http_main *where, struct httpstatic **ret)
{
    struct httpstatic *files = calloc(1, sizeof *files);
    const char *client = getenv("BUSBAR_CLIENT_JS"); /* as BUSBAR_CONSOLE */

    if (files == NULL)
        return -ENOMEM;
    files->options = options;
    files->where = where;
    files->roots[ROOT_STATIC] = open_folder(options->static_dir);
    int e = errno;
    files->roots[ROOT_CONSOLE] = open_console();
    files->roots[ROOT_CLIENT] = open_folder(client);
    if (options->static_dir[0] != '\0' && files->roots[ROOT_STATIC] < 0) {
        log_error("http.static_dir: %s: %s", options->static_dir, strerror(e));
        httpstatic_free(files);
        return -e;
    }
    *ret = files;
    return 0;
}

struct httpstatic *
httpstatic_free(struct httpstatic *files)
{
    if (files == NULL)
        return NULL;
    for (int i = 0; i < N_ROOTS; i++)
        if (files->roots[i] >= 0)
            (void)close(files->roots[i]);
    free(files);
    return NULL;
}

void
httpstatic_set_options(struct httpstatic *files, const struct http_options *options)
{
    files->options = options;
}

void
httpfile_fini(struct httpfile *file)
{
    buf_fini(&file->data);
}

static const char *
type_of(const char *name)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".mjs", "text/javascript; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".json", "application/json"},
        {".txt", "text/plain; charset=utf-8"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".ico", "image/x-icon"},
        {".woff2", "font/woff2"},
        {".wasm", "application/wasm"},
    };
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

/* "a/b.js": no empty part, and none that begins with a dot: neither "..", nor a hidden file. */
static int
relative_name(struct slice path, char *ret, size_t ret_size)
{
    if (slice_is(path, "/") || slice_is(path, "/console") || slice_is(path, "/console/"))
        path = slice_str("/index.html");
    if (path.n < 2 || path.n > ret_size || path.p[0] != '/' || memchr(path.p, '\0', path.n) != NULL)
        return -ENOENT;
    for (size_t i = 0; i < path.n; i++)
        if (path.p[i] == '/' && (i + 1 == path.n || path.p[i + 1] == '/' || path.p[i + 1] == '.'))
            return -ENOENT;
    memcpy(ret, path.p + 1, path.n - 1);
    ret[path.n - 1] = '\0';
    return 0;
}

static int
read_whole(int fd, size_t size, struct buf *out)
{
    uint8_t *to = buf_reserve(out, size + 1);
    size_t n = 0;

    if (to == NULL)
        return -ENOMEM;
    while (n < size) {
        ssize_t r = read(fd, to + n, size - n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            return r < 0 ? -errno : -EIO; /* it got shorter meanwhile */
        n += (size_t)r;
    }
    buf_commit(out, n);
    return 0;
}

static int
read_file(int root, const char *name, struct httpfile *ret)
{
    struct stat st;
    int fd = openat(root, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return -ENOENT;
    int r = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= HTTPSTATIC_MAX_BYTES ? 0 : -ENOENT;
    buf_init(&ret->data, 0);
    if (r == 0)
        r = read_whole(fd, (size_t)st.st_size, &ret->data);
    (void)close(fd);
    if (r < 0) {
        buf_fini(&ret->data);
        return -ENOENT;
    }
    ret->type = type_of(name);
    (void)snprintf(ret->etag, sizeof ret->etag, "%" PRIx64 "%08" PRIx32 "-%" PRIx64,
        (uint64_t)st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec, (uint64_t)st.st_size);
    return 0;
}

/* Where the console finds the other frontends. */
static int
console_json(const struct httpstatic *files, struct httpfile *ret)
{
    const char *websocket = files->options->console_websocket, *websocket_tls = NULL;

    if (websocket[0] == '\0') {
        websocket_tls = files->where->websocket_tls;
        websocket = files->where->websocket;
    }
    if (websocket == NULL)
        websocket = websocket_tls != NULL ? websocket_tls : "ws://{host}:8081/ws";
    buf_init(&ret->data, 0);
    buf_put_str(&ret->data, "{\"websocket\":");
    json_put_string(&ret->data, slice_str(websocket));
    if (websocket_tls != NULL) {
        buf_put_str(&ret->data, ",\"websocket_tls\":");
        json_put_string(&ret->data, slice_str(websocket_tls));
    }
    buf_put_str(&ret->data, ",\"tcp\":");
    json_put_string(&ret->data, slice_str(files->where->tcp != NULL ? files->where->tcp : "{host}:7070"));
    buf_put_str(&ret->data, "}\n");
    ret->type = "application/json";
    ret->etag[0] = '\0';
    if (!buf_failed(&ret->data))
        return 0;
    buf_fini(&ret->data);
    return -ENOMEM;
}

int
httpstatic_read(struct httpstatic *files, struct slice path, struct httpfile *ret)
{
    char name[1024];
    bool has_console = files->options->console;

    if (relative_name(path, name, sizeof name) < 0)
        return -ENOENT;
    if (files->roots[ROOT_STATIC] >= 0 && read_file(files->roots[ROOT_STATIC], name, ret) == 0)
        return 0;
    if (has_console && strcmp(name, "console.json") == 0)
        return console_json(files, ret);
    /* The client for pages is served whether there is a console or not. */
    bool is_client = strcmp(name, "busbar.js") == 0;
    if (is_client && files->roots[ROOT_CLIENT] >= 0 && read_file(files->roots[ROOT_CLIENT], name, ret) == 0)
        return 0;
    if ((has_console || is_client) && files->roots[ROOT_CONSOLE] >= 0)
        return read_file(files->roots[ROOT_CONSOLE], name, ret);
    return -ENOENT;
}
