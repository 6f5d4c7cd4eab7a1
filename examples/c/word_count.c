/*
 * Counts words in 64 MB of text: the GNU GPL as Debian's package base-files ships it, repeated.
 * Data parallelism: each item of the map is a piece of the text in shared memory.
 */
#include "example.h"

#include <ctype.h>
#include <string.h>

#define TEXT "/usr/share/common-licenses/GPL-3"
enum { BYTES = 64 << 20, PIECE = 256 << 10 };

struct piece {
    const char *text; /* in kin_alloc memory: the same address in every worker */
    size_t size;
};
struct counts {
    long words;
    long of[8]; /* how often each of these */
};
static const char *const common[8] = {"the", "of", "or", "to", "you", "a", "and", "this"};

static uint32_t hash_letter(uint32_t hash, char letter)
{
    return (hash ^ (uint32_t)tolower((unsigned char)letter)) * 16777619u; /* FNV-1a */
}

static uint32_t hash_word(const char *word)
{
    uint32_t hash = 2166136261u;
    while (*word != '\0') {
        hash = hash_letter(hash, *word++);
    }
    return hash;
}

static int count(const void *item, void *result, void *state)
{
    (void)state;
    const struct piece *piece = item;
    struct counts counts = {0, {0}};
    uint32_t wanted[8];
    for (int i = 0; i < 8; i++) {
        wanted[i] = hash_word(common[i]);
    }
    const char *at = piece->text, *end = piece->text + piece->size;
    while (at < end) {
        while (at < end && !isalpha((unsigned char)*at)) {
            at++;
        }
        const char *word = at;
        uint32_t hash = 2166136261u;
        while (at < end && isalpha((unsigned char)*at)) {
            hash = hash_letter(hash, *at++);
        }
        if (at > word) {
            counts.words++;
            for (int i = 0; i < 8; i++) {
                counts.of[i] += hash == wanted[i];
            }
        }
    }
    *(struct counts *)result = counts;
    return 0;
}

static char *load(size_t *ret_size)
{
    FILE *file = fopen(TEXT, "r");
    if (file == NULL) {
        perror(TEXT);
        exit(1);
    }
    static char once[1 << 20];
    size_t length = fread(once, 1, sizeof once - 1, file);
    fclose(file);
    once[length++] = '\n';
    size_t copies = BYTES / length + 1;
    char *text = check_memory(kin_alloc(copies * length));
    for (size_t i = 0; i < copies; i++) {
        memcpy(text + i * length, once, length);
    }
    *ret_size = copies * length;
    return text;
}

/* Pieces end between words. */
static size_t cut(const char *text, size_t size, struct piece *pieces)
{
    size_t count = 0;
    for (size_t at = 0; at < size;) {
        size_t end = at + PIECE < size ? at + PIECE : size;
        while (end < size && isalpha((unsigned char)text[end])) {
            end++;
        }
        pieces[count++] = (struct piece){text + at, end - at};
        at = end;
    }
    return count;
}

static struct counts total(const struct counts *counts, size_t pieces)
{
    struct counts sum = {0, {0}};
    for (size_t i = 0; i < pieces; i++) {
        sum.words += counts[i].words;
        for (int j = 0; j < 8; j++) {
            sum.of[j] += counts[i].of[j];
        }
    }
    return sum;
}

int main(void)
{
    size_t size;
    char *text = load(&size);
    struct piece *pieces = malloc((size / PIECE + 2) * sizeof *pieces);
    struct counts *counts = malloc((size / PIECE + 2) * sizeof *counts);
    size_t n = cut(text, size, pieces);

    double start = seconds();
    for (size_t i = 0; i < n; i++) {
        count(&pieces[i], &counts[i], NULL);
    }
    double one = seconds() - start;
    struct counts alone = total(counts, n);

    int workers = kin_cpu_count();
    kin_pool *pool = start_pool(workers);
    start = seconds();
    check(kin_pool_map(pool, count, pieces, n, sizeof *pieces, counts, sizeof *counts, NULL),
          "map");
    double many = seconds() - start;
    struct counts together = total(counts, n);
    end_pool(pool);

    printf("%zu MB: %ld words;", size >> 20, together.words);
    for (int i = 0; i < 8; i++) {
        printf(" %s %ld", common[i], together.of[i]);
    }
    printf("\n");
    report_speedup("word count", one, many, workers);
    kin_free(text);
    free(counts);
    free(pieces);
    return memcmp(&alone, &together, sizeof alone) == 0 ? 0 : 1;
}
