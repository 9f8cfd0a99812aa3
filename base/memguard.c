/* SPDX-License-Identifier: Apache-2.0 */
/* Memory against its limits: see memguard.h. */
#include "config.h"

#include "base/memguard.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"

#define POLL_MS 100u
#define MIB (UINT64_C(1) << 20)
/* A library takes up to a whole batch (16 MiB) at once where the other end sends one. */
#define SPACE_RESERVE (24 * MIB)
/* Asked for since the last look; less is not worth a look, more might be too late. */
#define LOOK_MIN MIB
#define LOOK_MAX (16 * MIB)
/* Blocks from this size on are the kernel's at once when they are freed. */
#define MMAP_FROM (128 * 1024)

enum { LIMIT_SPACE, LIMIT_DATA, LIMIT_RESIDENT, N_LIMITS };

struct figure {
    uint64_t used, max; /* max 0: no limit */
};

struct memguard {
    struct loop *loop;
    const char *option, *refused;
    struct loop_timer timer;
    struct figure figures[N_LIMITS];
    uint64_t resident_max;
    uint64_t least;          /* of figures[].max, 0: none; read_limits() */
    uint64_t asked, look_at; /* memguard_take(): looks again when asked has reached look_at */
    uint64_t free_at_trim;   /* what malloc had when it was last told to give back */
    int statm_fd;            /* -1: could not be opened, tried again */
    int tight;               /* the LIMIT_ that is; -1: none */
};

/* ---- Figures. ---- */

static uint64_t
soft_limit(int resource)
{
    struct rlimit limit;

    if (getrlimit(resource, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return 0;
    return limit.rlim_cur;
}

static void
read_limits(struct memguard *g)
{
    g->figures[LIMIT_SPACE].max = soft_limit(RLIMIT_AS);
    g->figures[LIMIT_DATA].max = soft_limit(RLIMIT_DATA);
    g->figures[LIMIT_RESIDENT].max = g->resident_max;
    g->least = 0;
    for (int i = 0; i < N_LIMITS; i++)
        if (g->figures[i].max > 0 && (g->least == 0 || g->figures[i].max < g->least))
            g->least = g->figures[i].max;
}

/* "size resident shared text lib data dt", in pages (proc(5)). False: they stay as they were. */
static bool
read_used(struct memguard *g)
{
    unsigned long long size, resident, data;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    char text[160];
    ssize_t n;

    if (g->statm_fd < 0)
        g->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    n = g->statm_fd < 0 ? -1 : pread(g->statm_fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return false;
    text[n] = '\0';
    if (sscanf(text, "%llu %llu %*u %*u %*u %llu", &size, &resident, &data) != 3)
        return false;
    g->figures[LIMIT_SPACE].used = size * page;
    g->figures[LIMIT_DATA].used = data * page;
    g->figures[LIMIT_RESIDENT].used = resident * page;
    return true;
}

static uint64_t
reserve_of(int which, uint64_t max)
{
    uint64_t reserve = max / 10;

    if (which != LIMIT_RESIDENT && reserve < SPACE_RESERVE)
        reserve = SPACE_RESERVE;
    return reserve < max ? reserve : max;
}

/* Until it is tight, or until it is no more, with what is kept back for the hysteresis. 0: it is. */
static uint64_t
room_of(const struct memguard *g, int which)
{
    const struct figure *f = &g->figures[which];
    uint64_t reserve = reserve_of(which, f->max), top;

    if (f->max == 0)
        return UINT64_MAX;
    if (g->tight == which)
        reserve += reserve / 4;
    top = f->max > reserve ? f->max - reserve : 0;
    return f->used < top ? top - f->used : 0;
}

/* The limit with the least room. */
static int
nearest(const struct memguard *g)
{
    int at = 0;

    for (int i = 1; i < N_LIMITS; i++)
        if (room_of(g, i) < room_of(g, at))
            at = i;
    return at;
}

/* What is free inside malloc serves the next allocation without a byte more of address space; of resident
 * memory malloc gives back what is free, if it is told to. Both take time in proportion to the heap's pieces:
 * only while it is tight, and only if something was freed since. */
static void
reclaim(struct memguard *g)
{
    uint64_t unused = mallinfo2().fordblks;
    uint64_t worth = g->figures[g->tight < 0 ? nearest(g) : g->tight].max / 64;

    if (unused > g->free_at_trim + worth || unused + worth < g->free_at_trim) {
        (void)malloc_trim(0);
        unused = mallinfo2().fordblks;
        g->free_at_trim = unused;
        if (!read_used(g))
            return;
    }
    for (int i = LIMIT_SPACE; i <= LIMIT_DATA; i++) {
        struct figure *f = &g->figures[i];

        /* Not all of it: some pieces are too small for what is wanted. */
        f->used -= unused / 4 * 3 < f->used ? unused / 4 * 3 : f->used;
    }
}

/* ---- Looking. ---- */

static void
tell(const struct memguard *g, int which)
{
    static const char *const names[] = {"of address space (RLIMIT_AS)", "of data (RLIMIT_DATA)", "resident"};
    const struct figure *f = &g->figures[which];
    const char *option = which == LIMIT_RESIDENT ? g->option : "the limit";
    unsigned long long used = f->used / MIB, max = f->max / MIB;

    if (g->tight >= 0)
        log_warn(
            "memory is nearly used up: %llu MiB %s, and %s is %llu MiB: %s are refused until there is room",
            used, names[which], option, max, g->refused);
    else
        log_notice("there is memory again: %llu MiB %s, and %s is %llu MiB: %s are taken again", used,
            names[which], option, max, g->refused);
}

static void
look(struct memguard *g)
{
    int was = g->tight, at;
    uint64_t room;

    read_limits(g);
    g->asked = 0;
    if (g->least > 0 && !read_used(g))
        return; /* as it was: next time */
    if (g->tight >= 0 || room_of(g, nearest(g)) == 0)
        reclaim(g);
    at = nearest(g);
    room = room_of(g, at);
    g->tight = room == 0 ? at : -1;
    g->look_at = room / 4 < LOOK_MIN ? LOOK_MIN : room / 4 > LOOK_MAX ? LOOK_MAX : room / 4;
    if ((was >= 0) != (g->tight >= 0))
        tell(g, g->tight >= 0 ? at : was);
    if (g->tight < 0)
        g->free_at_trim = 0;
}

static void
memguard_on_timer(void *arg)
{
    struct memguard *g = arg;

    look(g);
    if (g->least > 0)
        loop_timer_start(g->loop, &g->timer, POLL_MS);
}

/* ---- Life. ---- */

int
memguard_new(struct loop *loop, const char *option, const char *refused, struct memguard **ret)
{
    struct memguard *g = calloc(1, sizeof *g);

    if (g == NULL)
        return -ENOMEM;
    *g = (struct memguard){.loop = loop, .option = option, .refused = refused, .statm_fd = -1, .tight = -1};
    g->timer = (struct loop_timer){.fn = memguard_on_timer, .arg = g};
    read_limits(g);
    if (g->figures[LIMIT_SPACE].max > 0) {
        /* Each further arena takes 64 MiB of address space for itself, and large blocks would stay in the
         * heap as holes. */
        (void)mallopt(M_ARENA_MAX, 1);
        (void)mallopt(M_MMAP_THRESHOLD, MMAP_FROM);
    }
    memguard_on_timer(g);
    *ret = g;
    return 0;
}

struct memguard *
memguard_free(struct memguard *guard)
{
    if (guard == NULL)
        return NULL;
    loop_timer_stop(guard->loop, &guard->timer);
    if (guard->statm_fd >= 0)
        (void)close(guard->statm_fd);
    free(guard);
    return NULL;
}

void
memguard_set_max(struct memguard *guard, uint64_t bytes)
{
    if (bytes == guard->resident_max)
        return;
    guard->resident_max = bytes;
    memguard_on_timer(guard);
}

bool
memguard_is_tight(const struct memguard *guard)
{
    return guard != NULL && guard->tight >= 0;
}

bool
memguard_take(struct memguard *guard, size_t n)
{
    if (guard == NULL || guard->least == 0)
        return false;
    guard->asked += n;
    if (guard->asked >= guard->look_at && guard->tight < 0)
        look(guard);
    return guard->tight >= 0;
}

uint64_t
memguard_limit(const struct memguard *guard)
{
    return guard == NULL ? 0 : guard->least;
}
