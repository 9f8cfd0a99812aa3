/* SPDX-License-Identifier: Apache-2.0 */
/* The nearest known name, for "did you mean": Levenshtein's distance, one row at a time. */
#include "config.h"

#include "base/conf.h"

#include <string.h>

#define NAME_MAX_LETTERS 64u

size_t
conf_name_distance(const char *a, const char *b)
{
    size_t n_a = strlen(a), n_b = strlen(b);
    size_t row[NAME_MAX_LETTERS + 1];

    if (n_a > NAME_MAX_LETTERS || n_b > NAME_MAX_LETTERS)
        return n_a > n_b ? n_a : n_b;
    for (size_t j = 0; j <= n_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n_b];
}

const char *
conf_nearest(const char *name, const char *const *known)
{
    const char *nearest = NULL;
    /* A third of the letters wrong, and two at least, may still be meant. */
    size_t best = strlen(name) / 3 > 2 ? strlen(name) / 3 : 2;

    for (size_t i = 0; known[i] != NULL; i++) {
        size_t distance = conf_name_distance(name, known[i]);
        if (distance > best || distance >= strlen(known[i]))
            continue;
        if (nearest != NULL && distance == best)
            continue;
        nearest = known[i];
        best = distance;
    }
    return nearest;
}
