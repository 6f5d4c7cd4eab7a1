/* Sets of CPUs as plain values. Layer: cpu. Design: docs/design/placement.md. */
#include "cpu/cpu.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "os/os.h"

int kin_cpu_set_has(const struct kin_cpu_set *set, int cpu)
{
    return set != NULL && cpu >= 0 && kin__cpu_set_has(set, (unsigned)cpu);
}

int kin_cpu_set_add(struct kin_cpu_set *set, int cpu)
{
    if (set == NULL || cpu < 0 || cpu >= KIN_CPUS) {
        return -EINVAL;
    }
    set->word[cpu / 64] |= UINT64_C(1) << (cpu % 64);
    return 0;
}

int kin_cpu_set_remove(struct kin_cpu_set *set, int cpu)
{
    if (set == NULL || cpu < 0 || cpu >= KIN_CPUS) {
        return -EINVAL;
    }
    set->word[cpu / 64] &= ~(UINT64_C(1) << (cpu % 64));
    return 0;
}

int kin_cpu_set_count(const struct kin_cpu_set *set)
{
    int count = 0;
    for (int i = 0; set != NULL && i < KIN__CPU_WORDS; i++) {
        count += __builtin_popcountll(set->word[i]);
    }
    return count;
}

int kin_cpu_set_next(const struct kin_cpu_set *set, int after)
{
    if (set == NULL || after >= KIN_CPUS - 1) {
        return -1;
    }
    int cpu = after < 0 ? 0 : after + 1;
    for (int i = cpu / 64; i < KIN__CPU_WORDS; i++) {
        uint64_t word = set->word[i];
        if (i == cpu / 64) {
            word &= ~UINT64_C(0) << (cpu % 64);
        }
        if (word != 0) {
            return i * 64 + __builtin_ctzll(word);
        }
    }
    return -1;
}

/* Reads a number below KIN_CPUS * 64, so that lists of larger machines parse. */
static bool parse_number(const char **at, unsigned *ret)
{
    unsigned n = 0;
    const char *p = *at;
    if (!isdigit((unsigned char)*p)) {
        return false;
    }
    for (; isdigit((unsigned char)*p); p++) {
        n = n * 10 + (unsigned)(*p - '0');
        if (n >= KIN_CPUS * 64) {
            return false;
        }
    }
    *at = p;
    *ret = n;
    return true;
}

int kin_cpu_set_parse(const char *text, struct kin_cpu_set *ret_set)
{
    struct kin_cpu_set set;
    memset(&set, 0, sizeof set);
    if (text == NULL || ret_set == NULL) {
        return -EINVAL;
    }
    const char *p = text;
    while (isspace((unsigned char)*p)) {
        p++;
    }
    while (*p != '\0') {
        unsigned first, last;
        if (!parse_number(&p, &first)) {
            return -EINVAL;
        }
        last = first;
        if (*p == '-') {
            p++;
            if (!parse_number(&p, &last) || last < first) {
                return -EINVAL;
            }
        }
        for (unsigned cpu = first; cpu <= last && cpu < KIN_CPUS; cpu++) {
            set.word[cpu / 64] |= UINT64_C(1) << (cpu % 64);
        }
        if (*p == ',') {
            p++;
            if (!isdigit((unsigned char)*p)) {
                return -EINVAL;
            }
            continue;
        }
        while (isspace((unsigned char)*p)) {
            p++;
        }
        if (*p != '\0') {
            return -EINVAL;
        }
    }
    *ret_set = set;
    return 0;
}

int kin_cpu_set_format(const struct kin_cpu_set *set, char *text, size_t size)
{
    if (set == NULL || text == NULL || size == 0) {
        return -EINVAL;
    }
    size_t length = 0;
    text[0] = '\0';
    for (int cpu = kin_cpu_set_next(set, -1); cpu >= 0;) {
        int last = cpu;
        while (kin_cpu_set_has(set, last + 1)) {
            last++;
        }
        const char *comma = length > 0 ? "," : "";
        int n = last > cpu ? snprintf(text + length, size - length, "%s%d-%d", comma, cpu, last)
                           : snprintf(text + length, size - length, "%s%d", comma, cpu);
        if (n < 0 || (size_t)n >= size - length) {
            return -ENOSPC;
        }
        length += (size_t)n;
        cpu = kin_cpu_set_next(set, last);
    }
    return (int)length;
}

bool kin__cpu_set_empty(const struct kin_cpu_set *set)
{
    return kin_cpu_set_next(set, -1) < 0;
}

bool kin__cpu_set_meets(const struct kin_cpu_set *a, const struct kin_cpu_set *b)
{
    struct kin_cpu_set both = *a;
    kin__cpu_set_and(&both, b);
    return !kin__cpu_set_empty(&both);
}

bool kin__cpu_set_within(const struct kin_cpu_set *part, const struct kin_cpu_set *whole)
{
    struct kin_cpu_set rest = *part;
    kin__cpu_set_minus(&rest, whole);
    return kin__cpu_set_empty(&rest);
}

void kin__cpu_set_and(struct kin_cpu_set *set, const struct kin_cpu_set *with)
{
    for (int i = 0; i < KIN__CPU_WORDS; i++) {
        set->word[i] &= with->word[i];
    }
}

void kin__cpu_set_or(struct kin_cpu_set *set, const struct kin_cpu_set *with)
{
    for (int i = 0; i < KIN__CPU_WORDS; i++) {
        set->word[i] |= with->word[i];
    }
}

void kin__cpu_set_minus(struct kin_cpu_set *set, const struct kin_cpu_set *without)
{
    for (int i = 0; i < KIN__CPU_WORDS; i++) {
        set->word[i] &= ~without->word[i];
    }
}

int kin__cpu_set_read(const char *root, const char *path, struct kin_cpu_set *ret_set)
{
    char full[KIN__PATH], text[KIN__PATH];
    int n = snprintf(full, sizeof full, "%s%s", root, path);
    if (n < 0 || (size_t)n >= sizeof full) {
        return -ENAMETOOLONG;
    }
    int rc = kin__text_read(full, text, sizeof text);
    return rc < 0 ? rc : kin_cpu_set_parse(text, ret_set);
}
