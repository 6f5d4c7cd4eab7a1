/* A duplex pipe: the child answers each message until its peer hangs up. */
#include "example.h"

#include <string.h>

struct ends {
    kin_connection *parents, *childs;
};

static int answer(void *arg, size_t size)
{
    (void)size;
    struct ends *ends = arg;
    kin_connection_close(ends->parents); /* ours would keep the pipe from ever ending */
    char text[64];
    for (;;) {
        size_t length = sizeof text;
        int rc = kin_connection_recv(ends->childs, text, &length, KIN_FOREVER);
        if (rc == KIN_ECLOSED) {
            return 0;
        }
        check(rc, "recv");
        for (size_t i = 0; i < length / 2; i++) {
            char swap = text[i];
            text[i] = text[length - 1 - i];
            text[length - 1 - i] = swap;
        }
        check(kin_connection_send(ends->childs, text, length, KIN_FOREVER), "send");
    }
}

int main(void)
{
    struct ends ends;
    struct kin_pipe_options options = KIN_PIPE_OPTIONS_INIT;
    options.duplex = 1;
    check(kin_pipe_create(&options, &ends.parents, &ends.childs), "pipe");
    kin_process *child = start_process(answer, &ends, sizeof ends);
    ends.childs = kin_connection_destroy(ends.childs);
    const char *words[] = {"stressed", "drawer", "level"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        char text[64];
        size_t length = sizeof text;
        check(kin_connection_send(ends.parents, words[i], strlen(words[i]), KIN_FOREVER), "send");
        check(kin_connection_recv(ends.parents, text, &length, KIN_FOREVER), "recv");
        printf("%s -> %.*s\n", words[i], (int)length, text);
    }
    ends.parents = kin_connection_destroy(ends.parents);
    return end_process(child);
}
