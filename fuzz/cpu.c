/*
 * The files of /proc and /sys by which CPUs are counted. An input is a tree as tests/cpu/trees has
 * them, "== path" and then the file's contents; the program is linked so that the library's reads of
 * files come here (--wrap=kin__text_read).
 */
#include "cpu/cpu.h"

#include <errno.h>

#include "fuzz.h"

int __wrap_kin__text_read(const char *path, char *text, size_t size);

static struct fuzz_input tree;

/* As os.h says: with a terminator, refused where it is too long. */
int __wrap_kin__text_read(const char *path, char *text, size_t size)
{
    path += strspn(path, "/");
    const char *at = (const char *)tree.at, *end = at + tree.left;
    size_t name = strlen(path);
    while (at < end) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        line = line == NULL ? end : line;
        const char *body = line == end ? end : line + 1;
        const char *next = memmem(body, (size_t)(end - body), "== ", 3);
        next = next == NULL ? end : next;
        if ((size_t)(line - at) == name + 3 && memcmp(at + 3, path, name) == 0) {
            size_t length = (size_t)(next - body);
            if (length >= size) {
                return -EFBIG;
            }
            memcpy(text, body, length);
            text[length] = '\0';
            return (int)length;
        }
        at = next;
    }
    return -ENOENT;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[KIN__PATH * 2];
    struct kin_cpu_set set;
    tree = (struct fuzz_input){data, size};
    memset(&set, 0xff, sizeof set);
    REQUIRE(kin__cgroup_limits("", &set) > 0);
    REQUIRE(!kin__cpu_set_empty(&set));
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    source.root = "";
    int count = kin_cpu_count_from(&source);
    REQUIRE(count == -EINVAL || count == -ENOENT || count >= 1);
    kin_topology *topology = NULL;
    if (kin__topology_load(&source, false, &topology) == 0) {
        struct kin_topology_info info = {.size = sizeof info};
        struct kin_cpu cpu;
        REQUIRE(kin_topology_info(topology, &info) == 0 && info.cpus >= 1);
        REQUIRE(kin_topology_cpus(topology, &set) == 0 && kin_cpu_set_count(&set) == info.cpus);
        for (int i = 0; i < info.cpus; i++) {
            REQUIRE(kin_topology_cpu(topology, i, &cpu) == 0 && cpu.capacity >= 1 &&
                    cpu.capacity <= 1024);
        }
        /* A set that was read is read again as it was written. */
        struct kin_cpu_set again;
        if (kin_cpu_set_format(&set, text, sizeof text) >= 0) {
            REQUIRE(kin_cpu_set_parse(text, &again) == 0 && memcmp(&again, &set, sizeof set) == 0);
        }
    }
    kin_topology_destroy(topology);
    return 0;
}
