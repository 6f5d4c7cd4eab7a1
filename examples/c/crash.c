/* Crash isolation: an item makes its worker segfault, and all other results arrive. */
#include "example.h"

enum { ITEMS = 1000, BAD = 437 };

static int reciprocal(const void *item, void *result, void *state)
{
    (void)state;
    int value = *(const int *)item;
    if (value == BAD) {
        volatile int *nowhere = NULL;
        *nowhere = value;
    }
    *(double *)result = 1.0 / (value + 1);
    return 0;
}

int main(void)
{
    kin_pool *pool = start_pool(2);
    int items[ITEMS], codes[ITEMS];
    double results[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        items[i] = i;
        results[i] = -1.0;
    }
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.codes = codes;
    int rc = kin_pool_map(pool, reciprocal, items, ITEMS, sizeof items[0], results,
                          sizeof results[0], &options);
    int arrived = 0, lost = 0;
    for (int i = 0; i < ITEMS; i++) {
        arrived += codes[i] == 0 && results[i] == 1.0 / (i + 1);
        if (codes[i] != 0) {
            printf("item %d: %s\n", i, kin_strerror(codes[i]));
            lost++;
        }
    }
    printf("map: %s; %d results arrived, %d lost\n", kin_strerror(rc), arrived, lost);
    end_pool(pool);
    return rc == KIN_EWORKERLOST && arrived == ITEMS - 1 && lost == 1 ? 0 : 1;
}
