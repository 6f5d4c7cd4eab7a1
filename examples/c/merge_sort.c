/* Parallel merge sort in shared memory: workers sort blocks in place, then merge pairs of runs. */
#include "example.h"

#include <string.h>

enum { NUMBERS = 4 << 20, BLOCKS = 16 };

struct job {
    int *from, *to; /* kin_alloc memory */
    size_t left, right; /* two runs in `from`, one after the other; right 0: sort the left one */
};

static int compare(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

static int sort_or_merge(const void *item, void *result, void *state)
{
    (void)result;
    (void)state;
    const struct job *job = item;
    if (job->right == 0) {
        qsort(job->from, job->left, sizeof *job->from, compare);
        return 0;
    }
    const int *a = job->from, *a_end = a + job->left, *b = a_end, *b_end = b + job->right;
    int *to = job->to;
    while (a < a_end && b < b_end) {
        *to++ = *a <= *b ? *a++ : *b++;
    }
    memcpy(to, a, (size_t)(a_end - a) * sizeof *a);
    memcpy(to + (a_end - a), b, (size_t)(b_end - b) * sizeof *b);
    return 0;
}

/* Sorts `numbers`, using `spare` of the same size; returns which of the two holds the result. */
static int *sort(kin_pool *pool, int *numbers, int *spare)
{
    struct job jobs[BLOCKS];
    size_t run = NUMBERS / BLOCKS;
    for (int i = 0; i < BLOCKS; i++) {
        jobs[i] = (struct job){numbers + (size_t)i * run, NULL, run, 0};
    }
    check(kin_pool_map(pool, sort_or_merge, jobs, BLOCKS, sizeof jobs[0], NULL, 0, NULL), "sort");
    for (size_t runs = BLOCKS; runs > 1; runs /= 2, run *= 2) {
        for (size_t i = 0; i < runs / 2; i++) {
            jobs[i] = (struct job){numbers + 2 * i * run, spare + 2 * i * run, run, run};
        }
        check(kin_pool_map(pool, sort_or_merge, jobs, runs / 2, sizeof jobs[0], NULL, 0, NULL),
              "merge");
        int *swap = numbers;
        numbers = spare;
        spare = swap;
    }
    return numbers;
}

static double timed_sort(int workers, const int *input, int *ret_sorted)
{
    int *numbers = check_memory(kin_alloc(NUMBERS * sizeof *numbers));
    int *spare = check_memory(kin_alloc(NUMBERS * sizeof *spare));
    memcpy(numbers, input, NUMBERS * sizeof *numbers);
    memset(spare, 0, NUMBERS * sizeof *spare);
    kin_pool *pool = start_pool(workers);
    double start = seconds();
    int *sorted = sort(pool, numbers, spare);
    double taken = seconds() - start;
    memcpy(ret_sorted, sorted, NUMBERS * sizeof *sorted);
    end_pool(pool);
    kin_free(numbers);
    kin_free(spare);
    return taken;
}

int main(void)
{
    int *input = malloc(NUMBERS * sizeof *input), *a = malloc(NUMBERS * sizeof *a),
        *b = malloc(NUMBERS * sizeof *b);
    unsigned random = 1;
    for (int i = 0; i < NUMBERS; i++) {
        random = random * 1664525u + 1013904223u;
        input[i] = (int)(random >> 1);
    }
    int workers = kin_cpu_count();
    double one = timed_sort(1, input, a);
    double many = timed_sort(workers, input, b);
    int ordered = memcmp(a, b, NUMBERS * sizeof *a) == 0;
    for (int i = 1; i < NUMBERS; i++) {
        ordered = ordered && a[i - 1] <= a[i];
    }
    printf("%d numbers, %s\n", NUMBERS, ordered ? "in order" : "NOT in order");
    report_speedup("merge sort", one, many, workers);
    free(input);
    free(a);
    free(b);
    return ordered ? 0 : 1;
}
