#include "tree.h"

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256];

static void make_folders(char *path)
{
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        ck_assert(mkdir(path, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
}

const char *tree_unpack(const char *name)
{
    char path[1024], line[8192];
    const char *tmp = getenv("TMPDIR");
    tree_remove();
    snprintf(folder, sizeof folder, "%s/kin-tree-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/%s.tree", TREES, name);
    FILE *in = fopen(path, "r"), *out = NULL;
    ck_assert_msg(in != NULL, "%s", path);
    while (fgets(line, sizeof line, in)) {
        if (strncmp(line, "== ", 3) == 0) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(path, sizeof path, "%s/%.700s", folder, line + 3);
            make_folders(path);
            if (out) {
                fclose(out);
            }
            out = fopen(path, "w");
            ck_assert_msg(out != NULL, "%s", path);
        } else {
            ck_assert_ptr_nonnull(out);
            fputs(line, out);
        }
    }
    if (out) {
        fclose(out);
    }
    fclose(in);
    return folder;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void tree_remove(void)
{
    if (folder[0] != '\0') {
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        folder[0] = '\0';
    }
}
