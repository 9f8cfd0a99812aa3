/* SPDX-License-Identifier: Apache-2.0 */
/* A real busbar-broker in a directory of its own. Everything waits with a deadline. */
#ifndef TESTS_UNIT_BROKER_FAKEBUS_H
#define TESTS_UNIT_BROKER_FAKEBUS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define DEADLINE_MS 20000

struct loop;

struct bus {
    char dir[64], runtime_dir[80], config_path[80];
    pid_t broker;
    struct loop *loop;
    bool is_durable;      /* the broker keeps messages in a file */
    uint64_t hello_epoch; /* what the next HELLO says that its frontend knew */
};

/* yaml: the config beside runtime_dir, e.g. "topics: [...]"; NULL for none. */
void bus_start(struct bus *bus, const char *yaml);
void bus_start_durable(struct bus *bus, const char *yaml); /* with a store that outlives the broker */
void bus_write_config(struct bus *bus, const char *yaml);
void bus_spawn(struct bus *bus);                   /* the broker, again after bus_kill() */
void bus_kill(struct bus *bus, int signal_number); /* and waits; SIGTERM: must end with 0 */
void bus_stop(struct bus *bus);                    /* the end of the test */
int bus_wait_exit(struct bus *bus, pid_t pid);
pid_t bus_spawn_another(struct bus *bus);
long bus_rss_kib(const struct bus *bus);

/* Runs the loop until something came or 50 ms have passed; for so long; until *is_done. */
void bus_turn(struct bus *bus);
void bus_run_ms(struct bus *bus, uint64_t ms);
void bus_wait(struct bus *bus, const bool *is_done, const char *what);

#endif
