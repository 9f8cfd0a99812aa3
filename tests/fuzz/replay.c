/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs every file of a corpus through one fuzz target, so that what the fuzzer once found stays found
 * in `make check`. Without arguments it replays $BUSBAR_SRC/tests/fuzz/corpus/NAME, NAME being the
 * program's own name without "fuzz-". A target without a corpus fails: an empty check proves nothing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads one file into an exactly sized allocation, so that ASan sees a read past its end. */
static int
replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    long n = ftell(f);
    rewind(f);
    uint8_t *data = malloc(n > 0 ? (size_t)n : 1);
    if (data == NULL || fread(data, 1, (size_t)n, f) != (size_t)n) {
        perror(path);
        exit(1);
    }
    (void)fclose(f);
    (void)LLVMFuzzerTestOneInput(data, (size_t)n);
    free(data);
    return 1;
}

static int
replay_dir(const char *path)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        perror(path);
        exit(1);
    }
    int n_files = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        char file[4096];
        (void)snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        n_files += replay_file(file);
    }
    (void)closedir(dir);
    return n_files;
}

int
main(int argc, char **argv)
{
    char own[4096];
    int n_files = 0;

    if (argc > 1) {
        for (int i = 1; i < argc; i++)
            n_files += replay_dir(argv[i]);
    } else {
        const char *src = getenv("BUSBAR_SRC");
        const char *name = strrchr(argv[0], '/');
        name = strstr(name != NULL ? name : argv[0], "fuzz-");
        if (src == NULL || name == NULL) {
            (void)fprintf(stderr, "usage: %s CORPUS_DIR...\n", argv[0]);
            return 2;
        }
        (void)snprintf(own, sizeof own, "%s/tests/fuzz/corpus/%s", src, name + strlen("fuzz-"));
        n_files = replay_dir(own);
    }
    (void)printf("replayed %d files\n", n_files);
    return n_files > 0 ? 0 : 1;
}
