/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repeats: see dedupe.h. The numbers of a boot are a ring indexed by the number itself: entry pub % size
 * holds the seq of the last publish with that remainder, 0 for one that was never appended (the router
 * refused it, say). The ring grows with the number of publishes until it has DEDUPE_WINDOW entries.
 */
#include "config.h"

#include "backends/dedupe.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RING_FIRST 64u

struct dedupe_boot {
    uint64_t boot;
    uint64_t first,
        last; /* publish numbers; [last - n_seqs + 1, last] is what the ring holds, from first on */
    uint64_t *seqs;
    uint32_t n_seqs; /* a power of two */
    uint64_t used_ms;
    struct dedupe_boot *older, *newer;
};

struct dedupe_key {
    uint64_t seq;
    uint64_t made_ms;
    struct dedupe_key *newer;
    uint32_t n;
    uint8_t data[]; /* the topic's id, then the key */
};

static struct slice
boot_key_of(const void *value)
{
    const struct dedupe_boot *boot = value;

    return slice_of(&boot->boot, sizeof(boot->boot));
}

static struct slice
key_key_of(const void *value)
{
    const struct dedupe_key *key = value;

    return slice_of(key->data, key->n);
}

void
dedupe_init(struct dedupe *d)
{
    *d = (struct dedupe){0};
    table_init(&d->boots, boot_key_of);
    table_init(&d->keys, key_key_of);
}

/* ---- Boots. ---- */

static void
boot_unlink(struct dedupe *d, struct dedupe_boot *boot)
{
    *(boot->older != NULL ? &boot->older->newer : &d->oldest_boot) = boot->newer;
    *(boot->newer != NULL ? &boot->newer->older : &d->newest_boot) = boot->older;
    boot->older = boot->newer = NULL;
}

static void
boot_link_newest(struct dedupe *d, struct dedupe_boot *boot)
{
    boot->older = d->newest_boot;
    *(d->newest_boot != NULL ? &d->newest_boot->newer : &d->oldest_boot) = boot;
    d->newest_boot = boot;
}

static void
boot_forget(struct dedupe *d, struct dedupe_boot *boot)
{
    table_remove(&d->boots, boot_key_of(boot));
    boot_unlink(d, boot);
    free(boot->seqs);
    free(boot);
}

static int
boot_add(struct dedupe *d, uint64_t number, uint64_t pub, struct dedupe_boot **ret)
{
    struct dedupe_boot *boot;
    int r;

    if (d->boots.n_used >= DEDUPE_BOOTS_MAX)
        boot_forget(d, d->oldest_boot);
    boot = calloc(1, sizeof(*boot));
    if (boot == NULL)
        return -ENOMEM;
    *boot = (struct dedupe_boot){.boot = number, .first = pub, .last = pub - 1, .n_seqs = RING_FIRST};
    boot->seqs = calloc(RING_FIRST, sizeof(boot->seqs[0]));
    r = boot->seqs == NULL ? -ENOMEM : table_insert(&d->boots, boot);
    if (r < 0) {
        free(boot->seqs);
        free(boot);
        return r;
    }
    boot_link_newest(d, boot);
    *ret = boot;
    return 0;
}

/* A ring that can hold `pub` beside all numbers since the first, up to the window. */
static int
boot_reserve(struct dedupe_boot *boot, uint64_t pub)
{
    uint32_t n = boot->n_seqs;
    uint64_t *seqs;

    while (n < DEDUPE_WINDOW && pub - boot->first >= n)
        n *= 2;
    if (n == boot->n_seqs)
        return 0;
    seqs = calloc(n, sizeof(seqs[0]));
    if (seqs == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < boot->n_seqs; i++) {
        uint64_t number = boot->last - i;

        if (number < boot->first || number > boot->last)
            break;
        seqs[number & (n - 1)] = boot->seqs[number & (boot->n_seqs - 1)];
    }
    free(boot->seqs);
    boot->seqs = seqs;
    boot->n_seqs = n;
    return 0;
}

/* One frontend's publishes come one after the other, a batch of them at least: it is the newest as a rule. */
static struct dedupe_boot *
boot_find(const struct dedupe *d, uint64_t number)
{
    if (d->newest_boot != NULL && d->newest_boot->boot == number)
        return d->newest_boot;
    return table_find(&d->boots, slice_of(&number, sizeof(number)));
}

int
dedupe_check_pub(struct dedupe *d, uint64_t number, uint64_t pub, uint64_t now_ms, uint64_t *ret_seq)
{
    struct dedupe_boot *boot = boot_find(d, number);
    uint64_t seq;
    int r;

    if (boot == NULL) {
        r = boot_add(d, number, pub, &boot);
        if (r < 0)
            return r;
    } else if (d->newest_boot != boot) {
        boot_unlink(d, boot);
        boot_link_newest(d, boot);
    }
    boot->used_ms = now_ms;
    if (pub > boot->last) {
        r = boot_reserve(boot, pub);
        return r < 0 ? r : DEDUPE_NEW;
    }
    if (pub < boot->first || boot->last - pub >= boot->n_seqs)
        return DEDUPE_FORGOTTEN;
    seq = boot->seqs[pub & (boot->n_seqs - 1)];
    if (seq == 0)
        return DEDUPE_NEW;
    *ret_seq = seq;
    return DEDUPE_REPEATED;
}

void
dedupe_note_pub(struct dedupe *d, uint64_t number, uint64_t pub, uint64_t seq)
{
    struct dedupe_boot *boot = boot_find(d, number);

    assert(boot != NULL);
    if (pub > boot->last) {
        /* The numbers that were passed over were not appended: what their places hold is older. */
        for (uint64_t skipped = pub - 1, i = 0; skipped > boot->last && i < boot->n_seqs; skipped--, i++)
            boot->seqs[skipped & (boot->n_seqs - 1)] = 0;
        boot->last = pub;
    }
    boot->seqs[pub & (boot->n_seqs - 1)] = seq;
}

void
dedupe_undo_pub(struct dedupe *d, uint64_t number, uint64_t pub)
{
    struct dedupe_boot *boot = boot_find(d, number);

    if (boot != NULL && pub >= boot->first && pub <= boot->last && boot->last - pub < boot->n_seqs)
        boot->seqs[pub & (boot->n_seqs - 1)] = 0;
}

/* ---- Keys. ---- */

static void
key_forget_oldest(struct dedupe *d)
{
    struct dedupe_key *key = d->oldest_key;

    table_remove(&d->keys, key_key_of(key));
    d->oldest_key = key->newer;
    if (d->oldest_key == NULL)
        d->newest_key = NULL;
    free(key);
}

static struct dedupe_key *
key_new(uint32_t topic, struct slice text)
{
    struct dedupe_key *key = malloc(sizeof(*key) + sizeof(topic) + text.n);

    if (key == NULL)
        return NULL;
    *key = (struct dedupe_key){.n = (uint32_t)(sizeof(topic) + text.n)};
    memcpy(key->data, &topic, sizeof(topic));
    if (text.n > 0)
        memcpy(key->data + sizeof(topic), text.p, text.n);
    return key;
}

uint64_t
dedupe_find_key(struct dedupe *d, uint32_t topic, struct slice text, uint64_t now_ms)
{
    struct dedupe_key *wanted, *found;
    uint64_t seq = 0;

    while (d->oldest_key != NULL && now_ms - d->oldest_key->made_ms >= d->key_window_ms)
        key_forget_oldest(d);
    if (d->oldest_key == NULL)
        return 0;
    wanted = key_new(topic, text);
    if (wanted == NULL)
        return 0;
    found = table_find(&d->keys, key_key_of(wanted));
    if (found != NULL)
        seq = found->seq;
    free(wanted);
    return seq;
}

int
dedupe_note_key(struct dedupe *d, uint32_t topic, struct slice text, uint64_t seq, uint64_t now_ms)
{
    struct dedupe_key *key;
    int r;

    if (d->key_window_ms == 0 || d->keys_max == 0)
        return 0;
    while (d->oldest_key != NULL && d->keys.n_used >= d->keys_max)
        key_forget_oldest(d);
    key = key_new(topic, text);
    if (key == NULL)
        return -ENOMEM;
    key->seq = seq;
    key->made_ms = now_ms;
    r = table_insert(&d->keys, key);
    if (r < 0) {
        free(key);
        return r;
    }
    *(d->newest_key != NULL ? &d->newest_key->newer : &d->oldest_key) = key;
    d->newest_key = key;
    return 0;
}

void
dedupe_expire(struct dedupe *d, uint64_t now_ms, unsigned budget)
{
    for (unsigned i = 0; i < budget && d->oldest_key != NULL; i++) {
        if (now_ms - d->oldest_key->made_ms < d->key_window_ms)
            break;
        key_forget_oldest(d);
    }
    for (unsigned i = 0; i < budget && d->oldest_boot != NULL; i++) {
        if (now_ms - d->oldest_boot->used_ms < DEDUPE_BOOT_IDLE_MS)
            break;
        boot_forget(d, d->oldest_boot);
    }
}

void
dedupe_fini(struct dedupe *d)
{
    while (d->oldest_key != NULL)
        key_forget_oldest(d);
    while (d->oldest_boot != NULL)
        boot_forget(d, d->oldest_boot);
    table_fini(&d->keys);
    table_fini(&d->boots);
}
