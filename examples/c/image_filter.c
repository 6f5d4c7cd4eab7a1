/* An image filter over shared memory: each item is a row; rows are read and written in place. */
#include "example.h"

#include <string.h>

enum { WIDTH = 3840, HEIGHT = 2160, RADIUS = 3 };

struct image {
    const unsigned char *in;
    unsigned char *out;
};

/* A box blur of one row; `state` is the worker's own copy of the image's description. */
static int blur_row(const void *item, void *result, void *state)
{
    (void)result;
    const struct image *image = state;
    int y = *(const int *)item;
    for (int x = 0; x < WIDTH; x++) {
        unsigned sum = 0, n = 0;
        for (int dy = -RADIUS; dy <= RADIUS; dy++) {
            if (y + dy < 0 || y + dy >= HEIGHT) {
                continue;
            }
            const unsigned char *row = image->in + (size_t)(y + dy) * WIDTH;
            for (int dx = -RADIUS; dx <= RADIUS; dx++) {
                if (x + dx >= 0 && x + dx < WIDTH) {
                    sum += row[x + dx];
                    n++;
                }
            }
        }
        image->out[(size_t)y * WIDTH + (size_t)x] = (unsigned char)(sum / n);
    }
    return 0;
}

int main(void)
{
    size_t pixels = (size_t)WIDTH * HEIGHT;
    unsigned char *in = check_memory(kin_alloc(pixels));
    unsigned char *out = check_memory(kin_alloc(pixels));
    unsigned char *expected = malloc(pixels);
    for (size_t i = 0; i < pixels; i++) {
        in[i] = (unsigned char)((i * 2654435761u) >> 13);
    }
    struct image image = {in, out};
    int rows[HEIGHT];
    for (int y = 0; y < HEIGHT; y++) {
        rows[y] = y;
    }
    double start = seconds();
    for (int y = 0; y < HEIGHT; y++) {
        blur_row(&rows[y], NULL, &image);
    }
    double one = seconds() - start;
    memcpy(expected, out, pixels);
    memset(out, 0, pixels);

    int workers = kin_cpu_count();
    kin_pool *pool = start_pool(workers);
    struct kin_map_options options = KIN_MAP_OPTIONS_INIT;
    options.arg = &image;
    options.arg_size = sizeof image;
    start = seconds();
    check(kin_pool_map(pool, blur_row, rows, HEIGHT, sizeof rows[0], NULL, 0, &options), "map");
    double many = seconds() - start;
    end_pool(pool);

    int same = memcmp(expected, out, pixels) == 0;
    printf("%d x %d pixels, %s\n", WIDTH, HEIGHT, same ? "the same image" : "a DIFFERENT image");
    report_speedup("image filter", one, many, workers);
    kin_free(in);
    kin_free(out);
    free(expected);
    return same ? 0 : 1;
}
