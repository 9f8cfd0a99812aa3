/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime directory: see runtime.h. */
#include "config.h"

#include "broker/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/proc.h"
#include "wire/link.h"

/* What is added to the directory's path at most: a link's socket, its number of 64 bits in decimal. */
#define LONGEST_NAME "/link/18446744073709551615.sock"

static int
make_dir(const char *path)
{
    struct stat st;

    if (mkdir(path, 0750) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    if (stat(path, &st) < 0) /* not lstat(): /run may be a link */
        return -errno;
    if (!S_ISDIR(st.st_mode))
        return -ENOTDIR;
    /* Who may write there can put sockets of his own in place of ours. */
    if ((st.st_mode & S_IWOTH) != 0 || (st.st_uid != geteuid() && st.st_uid != 0 && geteuid() != 0))
        return -EPERM;
    return 0;
}

/* *ret_fd, -EWOULDBLOCK if another process has the lock, or another errno. */
static int
take_lock(const char *dir, int *ret_fd)
{
    char path[4096];
    int fd, r;

    (void)snprintf(path, sizeof(path), "%s/broker.lock", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        r = -errno;
        (void)close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

static void
remove_stale_sockets(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    struct stat st;

    if (d == NULL)
        return;
    while ((entry = readdir(d)) != NULL) {
        if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISSOCK(st.st_mode))
            continue;
        if (unlinkat(dirfd(d), entry->d_name, 0) < 0)
            log_warn(
                "%s/%s: a stale socket that could not be removed: %s", dir, entry->d_name, strerror(errno));
    }
    (void)closedir(d);
}

int
runtime_open(const char *dir, size_t path_max, int *ret_lock_fd)
{
    char links[4096];
    int r;

    if (strlen(dir) + sizeof(LONGEST_NAME) - 1 > path_max) {
        log_error("runtime_dir: %s is too long: %zu bytes at most, for the sockets in it", dir,
            path_max - (sizeof(LONGEST_NAME) - 1));
        return PROC_EXIT_CONFIG;
    }
    (void)umask(007); /* frontends of the group connect, others do not */
    r = make_dir(dir);
    if (r < 0) {
        if (r == -EPERM)
            log_error(
                "runtime_dir: %s is somebody else's, or everybody may write to it: choose another", dir);
        else
            log_error("runtime_dir: %s cannot be made: %s", dir, strerror(-r));
        return PROC_EXIT_FAILURE;
    }
    r = take_lock(dir, ret_lock_fd);
    if (r == -EWOULDBLOCK) {
        log_error("runtime_dir: another bus runs in %s; stop it, or give this one another runtime_dir", dir);
        return PROC_EXIT_IN_USE;
    }
    if (r < 0) {
        log_error("runtime_dir: %s/broker.lock: %s", dir, strerror(-r));
        return PROC_EXIT_FAILURE;
    }
    (void)snprintf(links, sizeof(links), "%s/link", dir);
    r = make_dir(links);
    if (r < 0) {
        log_error("runtime_dir: %s cannot be made: %s", links, strerror(-r));
        (void)close(*ret_lock_fd);
        return PROC_EXIT_FAILURE;
    }
    remove_stale_sockets(links);
    return 0;
}

bool
runtime_is_there(const char *dir, int lock_fd)
{
    static const char *const names[] = {CONTROL_SOCKET_NAME, "link"};
    struct stat ours, there;
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/broker.lock", dir);
    if (lock_fd < 0 || fstat(lock_fd, &ours) < 0 || lstat(path, &there) < 0 || ours.st_ino != there.st_ino ||
        ours.st_dev != there.st_dev)
        return false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        if (lstat(path, &there) < 0)
            return false;
    }
    return true;
}
