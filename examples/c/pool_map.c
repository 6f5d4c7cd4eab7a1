/* A pool of three workers that doubles five numbers. */
#include <kinfolk.h>
#include <stdio.h>

static int twice(const void *item, void *result, void *state)
{
    (void)state;
    *(int *)result = *(const int *)item * 2;
    return 0;                      /* any other value fails this item with that code */
}

int main(void)
{
    struct kin_pool_options options = KIN_POOL_OPTIONS_INIT;
    options.processes = 3;
    kin_pool *pool = NULL;
    int rc = kin_pool_create(&options, &pool);
    if (rc < 0) { fprintf(stderr, "pool: %s\n", kin_strerror(rc)); return 1; }

    int items[] = {1, 2, 3, 4, 5}, results[5];
    rc = kin_pool_map(pool, twice, items, 5, sizeof items[0], results, sizeof results[0], NULL);
    if (rc < 0) { fprintf(stderr, "map: %s\n", kin_strerror(rc)); return 1; }

    kin_pool_close(pool);          /* no more work */
    kin_pool_join(pool, KIN_FOREVER);
    kin_pool_destroy(pool);        /* NULL-safe, returns NULL */

    printf("Results:");
    for (int i = 0; i < 5; i++) printf(" %d", results[i]);
    printf("\n");
    return 0;
}
