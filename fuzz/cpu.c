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

/* Numbers of CPUs and lists of them, of any kind. */
static void use_sets(struct fuzz_input input)
{
    struct kin_cpu_set set, third;
    char text[40];
    int written = 0;
    memset(&set, 0, sizeof set);
    while (input.left > 0) {
        int cpu = (int16_t)fuzz_number(&input, 2);
        bool there = cpu >= 0 && cpu < KIN_CPUS;
        REQUIRE(kin_cpu_set_add(&set, cpu) == (there ? 0 : -EINVAL));
        REQUIRE(kin_cpu_set_has(&set, cpu) == there);
        written = kin_cpu_set_format(&set, text, sizeof text);
        REQUIRE(written == -ENOSPC || (written >= 0 && strlen(text) == (size_t)written));
        if (cpu % 3 == 0) {
            third = set;
            REQUIRE(kin_cpu_set_remove(&set, cpu) == (there ? 0 : -EINVAL));
            REQUIRE(kin__cpu_set_within(&set, &third));
            kin__cpu_set_minus(&third, &set);
            REQUIRE(!kin__cpu_set_meets(&set, &third) && kin_cpu_set_count(&third) == there);
            kin__cpu_set_or(&third, &set);
            REQUIRE(kin__cpu_set_within(&set, &third));
        }
    }
    REQUIRE(kin_cpu_set_parse(NULL, &set) == -EINVAL);
    REQUIRE(kin_cpu_set_format(&set, text, 0) == -EINVAL);
}

/* What the caller got wrong. */
static void misuse(const kin_topology *topology, int cpus)
{
    struct kin_topology_info info = {.size = 1};
    struct kin_cpu_source source = {.size = 1};
    struct kin_cpu_set set;
    struct kin_cpu cpu;
    kin_topology *none = NULL;
    char root[KIN__PATH + 1];
    memset(root, 'r', KIN__PATH);
    root[KIN__PATH] = '\0';
    REQUIRE(kin_topology_load(&source, NULL) == -EINVAL);
    REQUIRE(kin__topology_load(&source, false, &none) == -EINVAL && none == NULL);
    REQUIRE(kin_topology_info(topology, &info) == -EINVAL);
    REQUIRE(kin_topology_cpu(topology, cpus, &cpu) == -EINVAL);
    REQUIRE(kin_topology_cpus(topology, NULL) == -EINVAL);
    REQUIRE(kin__cpu_set_read(root, "", &set) == -ENAMETOOLONG);
}

int fuzz_target(const uint8_t *data, size_t size)
{
    char text[KIN__PATH * 2];
    struct kin_cpu_set set;
    use_sets((struct fuzz_input){data, size < 200 ? size : 200});
    if (size > 0 && *data >= FUZZ_FAIL_STEP) {
        fuzz_fail(*data++ - FUZZ_FAIL_STEP);
        size--;
    }
    tree = (struct fuzz_input){data, size};
    memset(&set, 0xff, sizeof set);
    REQUIRE(kin__cgroup_limits("", &set) > 0);
    REQUIRE(!kin__cpu_set_empty(&set));
    struct kin_cpu_source source = KIN_CPU_SOURCE_INIT;
    source.root = "";
    int count = kin_cpu_count_from(&source);
    REQUIRE(count == -EINVAL || count == -ENOENT || count == -ENOMEM || count >= 1);
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
        misuse(topology, info.cpus);
        /* A set that was read is read again as it was written. */
        struct kin_cpu_set again;
        if (kin_cpu_set_format(&set, text, sizeof text) >= 0) {
            REQUIRE(kin_cpu_set_parse(text, &again) == 0 && memcmp(&again, &set, sizeof set) == 0);
        }
    }
    kin_topology_destroy(topology);
    return 0;
}
