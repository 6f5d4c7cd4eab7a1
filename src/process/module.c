/*
 * Functions by module, build-id and offset: how another image of the same program finds a function
 * that has no entry. Layer: process. Protocol: docs/design/process.md, "Targets".
 */
#include "process/message.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

/* Followed by the entry's name, the module's path and the build-id, all without a NUL. */
struct head {
    uint32_t entry_size;
    uint32_t module_size;
    uint32_t build_id_size;
    uint32_t zero;
    uint64_t offset;
};

/* The build-id note of a loaded module: its length, 0 if it has none. */
static size_t build_id_of(const struct dl_phdr_info *info, const unsigned char **ret_id)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_NOTE) {
            continue;
        }
        const char *at = (const char *)(info->dlpi_addr + segment->p_vaddr);
        size_t left = segment->p_memsz;
        while (left >= sizeof(ElfW(Nhdr))) {
            ElfW(Nhdr) note;
            memcpy(&note, at, sizeof note);
            size_t align = segment->p_align == 8 ? 8 : 4;
            size_t name = kin__align_up(note.n_namesz, align);
            size_t whole = sizeof note + name + kin__align_up(note.n_descsz, align);
            if (whole > left) {
                break;
            }
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
                memcmp(at + sizeof note, "GNU", 4) == 0) {
                *ret_id = (const unsigned char *)at + sizeof note + name;
                return note.n_descsz;
            }
            at += whole;
            left -= whole;
        }
    }
    return 0;
}

/* Whether the module's code, mapped and executable, holds the offset. */
static bool has_code_at(const struct dl_phdr_info *info, uint64_t offset)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0 &&
            offset >= segment->p_vaddr && offset - segment->p_vaddr < segment->p_memsz) {
            return true;
        }
    }
    return false;
}

/* --- naming ------------------------------------------------------------------------------- */

struct search {
    uintptr_t address;
    struct kin__function_name *name;
};

static int is_home(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct search *search = arg;
    uint64_t offset = search->address - info->dlpi_addr;
    if (!has_code_at(info, offset)) {
        return 0;
    }
    struct kin__function_name *name = search->name;
    const unsigned char *id = NULL;
    size_t id_size = build_id_of(info, &id);
    if (id_size <= sizeof name->build_id) {
        memcpy(name->build_id, id_size > 0 ? id : name->build_id, id_size);
        name->build_id_size = id_size;
    }
    name->offset = offset;
    if (info->dlpi_name[0] != '\0') {
        char *path = realpath(info->dlpi_name, NULL);
        const char *known = path != NULL ? path : info->dlpi_name;
        if (strlen(known) < sizeof name->module) {
            strcpy(name->module, known);
        }
        free(path);
    }
    return 1;
}

int kin__function_encode(kin_function *function, const char *entry, void *bytes, size_t room)
{
    struct kin__function_name name;
    memset(&name, 0, sizeof name);
    struct search search = {.address = (uintptr_t)function, .name = &name};
    int found = dl_iterate_phdr(is_home, &search);
    /* The program itself is executed from the same file, whether it has a build-id or not. */
    bool sure = found != 0 && (name.build_id_size > 0 || name.module[0] == '\0');
    if (!sure && entry == NULL) {
        return KIN_ENOENTRY;
    }
    size_t entry_size = entry != NULL ? strlen(entry) : 0, module_size = strlen(name.module);
    if (entry_size >= sizeof name.entry) {
        return KIN_ENOENTRY;
    }
    struct head head = {.entry_size = (uint32_t)entry_size,
                        .module_size = (uint32_t)module_size,
                        .build_id_size = (uint32_t)name.build_id_size,
                        .offset = name.offset};
    size_t size = sizeof head + entry_size + module_size + name.build_id_size;
    if (size > room) {
        return -ENOSPC;
    }
    char *at = bytes;
    memcpy(at, &head, sizeof head);
    memcpy(at += sizeof head, entry != NULL ? entry : "", entry_size);
    memcpy(at += entry_size, name.module, module_size);
    memcpy(at += module_size, name.build_id, name.build_id_size);
    return (int)size;
}

/* --- finding ------------------------------------------------------------------------------ */

int kin__function_parse(const void *bytes, size_t size, struct kin__function_name *ret_name)
{
    struct head head;
    if (size < sizeof head || size > KIN__FUNCTION_SIZE) {
        return -EPROTO;
    }
    memcpy(&head, bytes, sizeof head);
    const char *at = (const char *)bytes + sizeof head;
    if (head.zero != 0 || head.entry_size >= sizeof ret_name->entry ||
        head.module_size >= sizeof ret_name->module ||
        head.build_id_size > sizeof ret_name->build_id ||
        sizeof head + head.entry_size + head.module_size + head.build_id_size != size ||
        memchr(at, '\0', head.entry_size + head.module_size) != NULL) {
        return -EPROTO;
    }
    memset(ret_name, 0, sizeof *ret_name);
    memcpy(ret_name->entry, at, head.entry_size);
    memcpy(ret_name->module, at += head.entry_size, head.module_size);
    memcpy(ret_name->build_id, at += head.module_size, head.build_id_size);
    ret_name->build_id_size = head.build_id_size;
    ret_name->offset = head.offset;
    return 0;
}

struct find {
    const struct kin__function_name *name;
    uintptr_t address;
};

static int is_named(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    struct find *find = arg;
    const struct kin__function_name *name = find->name;
    const unsigned char *id = NULL;
    size_t id_size = build_id_of(info, &id);
    bool same = name->build_id_size > 0 ? id_size == name->build_id_size &&
                                              memcmp(id, name->build_id, id_size) == 0
                                        : name->module[0] == '\0' && info->dlpi_name[0] == '\0';
    if (same && has_code_at(info, name->offset)) {
        find->address = info->dlpi_addr + (uintptr_t)name->offset;
        return 1;
    }
    return 0;
}

static kin_function *look_up(const struct kin__function_name *name)
{
    if (name->entry[0] != '\0') {
        kin_function *function = kin__entry_find(name->entry);
        if (function != NULL) {
            return function;
        }
    }
    struct find find = {.name = name};
    dl_iterate_phdr(is_named, &find);
    return (kin_function *)find.address;
}

int kin__function_decode(const void *bytes, size_t size, kin_function **ret_function)
{
    struct kin__function_name name;
    int rc = kin__function_parse(bytes, size, &name);
    if (rc < 0) {
        return rc;
    }
    kin_function *function = look_up(&name);
    if (function == NULL && name.module[0] != '\0' && dlopen(name.module, RTLD_NOW) != NULL) {
        function = look_up(&name); /* it stays loaded: its functions are in use */
    }
    if (function == NULL) {
        return KIN_ENOENTRY;
    }
    *ret_function = function;
    return 0;
}
