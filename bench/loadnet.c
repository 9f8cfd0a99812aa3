/* SPDX-License-Identifier: Apache-2.0 */
/* The load generator's sockets: one epoll loop for all clients, fast and slow. */
#include "config.h"

#include "bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (256 * 1024)
#define TURN_NS 50000000ull
#define SLOW_TICK_NS 20000000ull
#define SLOW_RCVBUF 8192
#define QUIET_NS 1000000000ull
#define SILENCE_NS 20000000000ull

static struct {
    int epoll_fd;
    struct client **to_flush, **to_pump;
    uint32_t n_to_flush, n_to_pump;
    bool is_slow, has_sped_up; /* between net_slow_down() and net_speed_up(); after that */
    uint64_t slow_at_ns;
    uint8_t buffer[READ_BYTES];
} net;

void
load_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("busbar-load: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1);
}

uint64_t
net_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* realloc() that does not fail; new memory is zeroed. */
void *
net_alloc(void *old, size_t n)
{
    void *p = old == NULL ? calloc(1, n) : realloc(old, n);
    if (p == NULL)
        load_die("out of memory");
    return p;
}

char *
load_note(struct client *c, size_t room)
{
    if (c->note == NULL)
        c->note = net_alloc(NULL, room);
    return c->note;
}

static void
watch(struct client *c, bool for_write)
{
    struct epoll_event e = {.events = EPOLLIN | (for_write ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(net.epoll_fd, EPOLL_CTL_MOD, c->fd, &e) != 0)
        load_die("epoll_ctl: %s", strerror(errno));
}

/* Is sent when the callback that says it is over. */
void
load_write(struct client *c, const void *data, size_t n)
{
    if (c->out_n + n > c->out_cap)
        c->out = net_alloc(c->out, c->out_cap = (c->out_n + n) * 2);
    memcpy(c->out + c->out_n, data, n);
    c->out_n += n;
    if (!c->is_to_flush) {
        c->is_to_flush = true;
        net.to_flush[net.n_to_flush++] = c;
    }
}

void
load_write_text(struct client *c, const char *text)
{
    load_write(c, text, strlen(text));
}

/* Writes what it can and keeps the rest; the caller says whether it waits for room already. */
static void
flush(struct client *c, bool is_waiting)
{
    if (c->out_n > 0) {
        ssize_t done =
            c->tls != NULL ? tls_send(c, c->out, c->out_n) : send(c->fd, c->out, c->out_n, MSG_NOSIGNAL);
        if (done < 0 && errno != EAGAIN && errno != ENOTCONN)
            load_die("the server closed a connection while it was written to: %s", strerror(errno));
        if (done > 0) {
            memmove(c->out, c->out + done, c->out_n - (size_t)done);
            c->out_n -= (size_t)done;
        }
    }
    if ((c->out_n > 0) != is_waiting)
        watch(c, c->out_n > 0);
}

void
net_pump_later(struct client *c)
{
    if (!c->is_to_pump) {
        c->is_to_pump = true;
        net.to_pump[net.n_to_pump++] = c;
    }
}

/* After each callback: what it made possible is published, what it said is sent. */
static void
settle(void)
{
    while (net.n_to_pump > 0) {
        struct client *c = net.to_pump[--net.n_to_pump];
        c->is_to_pump = false;
        count_pump(c);
    }
    while (net.n_to_flush > 0) {
        struct client *c = net.to_flush[--net.n_to_flush];
        c->is_to_flush = false;
        if (c->is_connected)
            flush(c, false);
    }
}

static void
open_client(struct client *c)
{
    int port = c->is_publisher && option.publish_port != 0 ? option.publish_port : option.port;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, small = SLOW_RCVBUF;

    (void)inet_pton(AF_INET, option.host, &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        load_die("socket: %s (raise `ulimit -n`?)", strerror(errno));
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->is_slow)
        (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    /* One loopback address has 28,000 ports: each run has others of them, and leaves none in TIME_WAIT. */
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f010001u + (((uint32_t)getpid() & 0xffff) << 8) + c->number / 20000);
    (void)setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    (void)bind(c->fd, (struct sockaddr *)&from, sizeof from);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
        load_die("connect to %s:%d: %s", option.host, port, strerror(errno));
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(net.epoll_fd, EPOLL_CTL_ADD, c->fd, &e) != 0)
        load_die("epoll_ctl: %s", strerror(errno));
}

void
load_ready(struct client *c)
{
    if (c->phase != PHASE_READY) {
        c->phase = PHASE_READY;
        run.n_ready++;
    }
}

void
load_joined(struct client *c)
{
    if (++c->n_joined == (run.is_wild ? 1 : c->n_streams))
        load_ready(c);
}

/* Greeted: a subscriber joins, a publisher is ready. */
void
load_greeted(struct client *c)
{
    if (c->is_publisher || option.protocol->join == NULL) {
        load_ready(c);
    } else {
        c->phase = PHASE_JOIN;
        option.protocol->join(c);
    }
}

static void
consume(struct client *c, const uint8_t *p, size_t n)
{
    size_t used = 0;
    while (used < n) {
        ssize_t k = option.protocol->read(c, p + used, n - used);
        if (k < 0)
            load_die("the server said what %s does not allow: %.*s", option.protocol->name,
                (int)(n - used > 200 ? 200 : n - used), (const char *)p + used);
        if (k == 0)
            break;
        used += (size_t)k;
    }
    size_t rest = n - used;
    if (rest > c->in_cap)
        c->in = net_alloc(c->in, c->in_cap = rest * 2);
    if (rest > 0)
        memmove(c->in, p + used, rest);
    c->in_n = rest;
}

/* Reads once, at most `most` bytes. False: nothing came. */
static bool
read_some(struct client *c, size_t most)
{
    size_t room = READ_BYTES - c->in_n;
    if (room == 0)
        load_die("a message is longer than %d bytes", READ_BYTES);
    if (c->in_n > 0)
        memcpy(net.buffer, c->in, c->in_n);
    if (most < room)
        room = most;
    ssize_t n =
        c->tls != NULL ? tls_recv(c, net.buffer + c->in_n, room) : recv(c->fd, net.buffer + c->in_n, room, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0 && c->is_slow && (net.is_slow || net.has_sped_up)) {
        c->is_gone = true;
        run.n_slow_gone++;
        if (net.has_sped_up)
            (void)epoll_ctl(net.epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
        return false;
    }
    if (n <= 0)
        load_die("the server closed the connection of %s %u: %s",
            c->is_publisher ? "publisher" : "subscriber", c->number,
            n == 0 ? "end of stream" : strerror(errno));
    run.now_ns = net_now_ns();
    consume(c, net.buffer, c->in_n + (size_t)n);
    settle();
    return true;
}

/* TCP's connection is there, or the server has said something of TLS's handshake. */
static void
on_connecting(struct client *c)
{
    if (option.is_tls) {
        watch(c, false);
        if (!tls_connect(c))
            return;
    }
    c->is_connected = true;
    option.protocol->greet(c);
    flush(c, !option.is_tls);
    settle();
}

static void
on_event(struct client *c, uint32_t what)
{
    if (what & (EPOLLERR | EPOLLHUP) && !(what & EPOLLIN) && !c->is_slow)
        load_die("the server closed or refused a connection");
    if (!c->is_connected) {
        on_connecting(c);
    } else if (what & EPOLLOUT) {
        flush(c, true);
        settle();
    }
    if (c->is_connected && what & (EPOLLIN | EPOLLERR | EPOLLHUP))
        while (read_some(c, SIZE_MAX) && c->tls != NULL && tls_has_more(c))
            ;
}

void
net_slow_down(void)
{
    net.is_slow = true;
    run.n_slow_taken = 0;
    net.slow_at_ns = net_now_ns();
    for (uint32_t i = 0; i < option.n_slow; i++) {
        if (epoll_ctl(net.epoll_fd, EPOLL_CTL_DEL, run.clients[i].fd, NULL) != 0)
            load_die("epoll_ctl: %s", strerror(errno));
    }
}

/* They are not any more: they read what waits for them, until nothing comes. */
void
net_speed_up(void)
{
    uint64_t taken, quiet_since = net_now_ns();

    net.is_slow = false;
    net.has_sped_up = true;
    for (uint32_t i = 0; i < option.n_slow; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &run.clients[i]};
        if (!run.clients[i].is_gone && epoll_ctl(net.epoll_fd, EPOLL_CTL_ADD, run.clients[i].fd, &e) != 0)
            load_die("epoll_ctl: %s", strerror(errno));
    }
    while (net_now_ns() - quiet_since < QUIET_NS) {
        taken = run.n_slow_taken;
        net_turn(net_now_ns() + TURN_NS);
        if (run.n_slow_taken != taken)
            quiet_since = net_now_ns();
    }
}

static void
read_slowly(void)
{
    size_t most = (size_t)(option.slow_bytes * SLOW_TICK_NS / 1e9);

    for (uint32_t i = 0; i < option.n_slow && most > 0; i++) {
        if (!run.clients[i].is_gone)
            (void)read_some(&run.clients[i], most);
    }
    net.slow_at_ns += SLOW_TICK_NS;
}

/* One turn of the loop, which ends at until_ns at the latest. */
void
net_turn(uint64_t until_ns)
{
    struct epoll_event events[512];
    uint64_t now = net_now_ns(), wake = until_ns;

    if (option.rate > 0 && run.is_started && !run.is_over) {
        uint64_t due = count_pump_due(now);
        wake = due < wake ? due : wake;
    }
    if (net.is_slow && net.slow_at_ns <= now)
        read_slowly();
    if (net.is_slow && net.slow_at_ns < wake)
        wake = net.slow_at_ns;
    settle();
    uint64_t wait = wake > now ? wake - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
    int n = epoll_pwait2(net.epoll_fd, events, 512, &timeout, NULL);
    for (int i = 0; i < n; i++)
        on_event(events[i].data.ptr, events[i].events);
}

void
net_start(void)
{
    net.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    net.to_flush = net_alloc(NULL, run.n_clients * sizeof *net.to_flush);
    net.to_pump = net_alloc(NULL, run.n_clients * sizeof *net.to_pump);
}

void
net_connect_all(void)
{
    uint32_t opened = 0, last_ready = 0;
    uint64_t last_ns = net_now_ns();

    while (run.n_ready < run.n_clients) {
        while (opened < run.n_clients && opened - run.n_ready < option.n_opening)
            open_client(&run.clients[opened++]);
        net_turn(net_now_ns() + TURN_NS);
        if (run.n_ready != last_ready) {
            last_ready = run.n_ready;
            last_ns = net_now_ns();
        } else if (net_now_ns() - last_ns > SILENCE_NS) {
            load_die("only %u of %u clients were ready after 20 silent seconds", run.n_ready, run.n_clients);
        }
    }
}

void
net_run(double seconds)
{
    uint64_t end = net_now_ns() + (uint64_t)(seconds * 1e9);
    uint64_t last = run.n_deliveries, quiet_since = net_now_ns();

    for (uint64_t now; (now = net_now_ns()) < end;) {
        net_turn(now + TURN_NS < end ? now + TURN_NS : end);
        if (run.n_deliveries != last) {
            last = run.n_deliveries;
            quiet_since = now;
        } else if (run.is_measuring && now - quiet_since > SILENCE_NS) {
            load_die("nothing was delivered for 20 seconds: a message was lost");
        }
    }
}
