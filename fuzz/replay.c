/* Feeds each file of the folders and files given to a target, once: the corpus as an ordinary test. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    static uint8_t bytes[1 << 20];
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    /* Its exact size, so that a sanitizer sees a read past its end. */
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    REQUIRE(exact != NULL);
    memcpy(exact, bytes, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    return 1;
}

static unsigned run(const char *path)
{
    struct stat st;
    REQUIRE(stat(path, &st) == 0);
    if (!S_ISDIR(st.st_mode)) {
        return run_file(path);
    }
    DIR *folder = opendir(path);
    REQUIRE(folder != NULL);
    unsigned count = 0;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char inner[4096];
        if (entry->d_name[0] != '.') {
            snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
            count += run_file(inner);
        }
    }
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        count += run(argv[i]);
    }
    printf("ok - %u inputs\n", count);
    return count == 0;
}
