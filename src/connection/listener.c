/* Listeners. Layer: connection. Protocol: docs/design/connection.md. */
#include <kinfolk/listener.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "channel/connection.h"
#include "connection/address.h"
#include "connection/authenticate.h"
#include "shm/wait.h"

#define DEFAULT_BACKLOG 128

/* Private to a process and constant, so that threads and forked children share it freely. */
struct kin_listener {
    int fd;
    int32_t owner; /* the process that removes the path */
    bool has_path;
    uint64_t path_device;
    uint64_t path_inode;
    char address[KIN__ADDRESS_TEXT];
    struct kin_listener_options options; /* authkey: our copy */
};

/* An address for a caller that has none. */
static int choose(int family, char text[KIN__ADDRESS_TEXT])
{
    if (family == KIN_ADDRESS_INET) {
        snprintf(text, KIN__ADDRESS_TEXT, "127.0.0.1:0");
        return 0;
    }
    uint64_t random[2];
    int rc = kin__random(random, sizeof random);
    if (rc == 0) {
        snprintf(text, KIN__ADDRESS_TEXT, "@kinfolk-%016llx%016llx", (unsigned long long)random[0],
                 (unsigned long long)random[1]);
    }
    return rc;
}

static int copy_key(struct kin_listener *listener)
{
    const void *key = listener->options.authkey;
    if (key == NULL) {
        return 0;
    }
    size_t size = listener->options.authkey_size;
    void *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) {
        listener->options.authkey = NULL;
        return -ENOMEM;
    }
    memcpy(copy, key, size);
    listener->options.authkey = copy;
    return 0;
}

static void drop_key(struct kin_listener *listener)
{
    void *key = (void *)(uintptr_t)listener->options.authkey;
    if (key != NULL) {
        kin__wipe(key, listener->options.authkey_size);
        free(key);
    }
}

/* Opens the socket and notes what is needed to name and remove it. */
static int open_at(struct kin_listener *listener, const char *text)
{
    struct kin__address_text parsed;
    struct kin__address address;
    int rc = kin__address_parse(text, listener->options.family, &parsed);
    if (rc == 0) {
        rc = kin__address_resolve(&parsed, &address);
    }
    if (rc < 0) {
        return rc;
    }
    int backlog = listener->options.backlog > 0 ? listener->options.backlog : DEFAULT_BACKLOG;
    rc = kin__socket_listen(&address, backlog);
    if (rc < 0) {
        return rc;
    }
    listener->fd = rc;
    if (parsed.inet) {
        return kin__socket_inet_name(listener->fd, listener->address, sizeof listener->address);
    }
    snprintf(listener->address, sizeof listener->address, "%s%s", parsed.abstract ? "@" : "",
             parsed.name);
    if (!parsed.abstract) {
        rc = kin__path_identity(parsed.name, &listener->path_device, &listener->path_inode);
        listener->has_path = rc == 0;
    }
    return rc;
}

int kin_listener_create(const char *address, const struct kin_listener_options *options,
                        kin_listener **ret_listener)
{
    struct kin_listener_options o = KIN_LISTENER_OPTIONS_INIT;
    if (ret_listener == NULL || kin__options_read(&o, sizeof o, options) < 0 || o.family < 0 ||
        o.family > KIN_ADDRESS_INET || o.backlog < 0 || (o.authkey == NULL && o.authkey_size > 0)) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct kin_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) {
        return -ENOMEM;
    }
    listener->fd = -1;
    listener->owner = kin__pid();
    listener->options = o;
    rc = copy_key(listener);
    if (rc < 0) {
        goto fail;
    }
    char chosen[KIN__ADDRESS_TEXT];
    if (address == NULL) {
        rc = choose(o.family, chosen);
        if (rc < 0) {
            goto fail;
        }
        address = chosen;
    }
    rc = open_at(listener, address);
    if (rc < 0) {
        goto fail;
    }
    *ret_listener = listener;
    return 0;
fail:
    kin_listener_destroy(listener);
    return rc;
}

/* Waits until somebody has connected. */
static int accept_one(struct kin_listener *listener, int64_t deadline)
{
    for (;;) {
        int rc = kin__socket_accept(listener->fd);
        if (rc != -EAGAIN && rc != -ECONNABORTED && rc != -EINTR) {
            return rc;
        }
        int64_t now = kin__clock_now();
        int64_t until = now + KIN__SLICE_NS;
        struct pollfd item = {.fd = listener->fd, .events = POLLIN};
        rc = kin__fd_poll(&item, 1, deadline < until ? deadline : until);
        if (rc > 0) {
            continue;
        }
        if (rc < 0 && rc != -EINTR) {
            return rc;
        }
        if (rc == 0 && kin__clock_now() >= deadline) {
            return -ETIMEDOUT;
        }
        bool slept = rc == 0;
        rc = kin__interrupted();
        if (rc < 0) {
            return rc;
        }
        if (slept) {
            kin__sweep(false);
        }
    }
}

int kin_listener_accept(kin_listener *listener, int64_t timeout_ns, kin_connection **ret_connection)
{
    if (listener == NULL || ret_connection == NULL) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    rc = accept_one(listener, kin__clock_deadline(timeout_ns));
    if (rc < 0) {
        return rc;
    }
    const int fd = rc;
    kin_connection *connection = NULL;
    rc = kin_connection_from_fd(fd, &connection);
    if (rc < 0) {
        kin__fd_close(fd);
        return rc;
    }
    const struct kin_listener_options *o = &listener->options;
    if (!o->any_user) {
        rc = kin__authenticate_user(connection);
    }
    if (rc == 0 && o->authkey != NULL) {
        rc = kin__authenticate(connection, KIN__HANDSHAKE_LISTENER, o->authkey, o->authkey_size,
                               kin__clock_deadline(o->handshake_timeout_ns));
        /* -ETIMEDOUT means that nobody came. */
        rc = rc == -ETIMEDOUT ? KIN_EAUTH : rc;
    }
    if (rc < 0) {
        kin_connection_destroy(connection);
        return rc;
    }
    connection->limit = o->max_message;
    *ret_connection = connection;
    return 0;
}

const char *kin_listener_address(const kin_listener *listener)
{
    return listener == NULL ? NULL : listener->address;
}

int kin_listener_fd(const kin_listener *listener)
{
    return listener == NULL ? -EINVAL : listener->fd;
}

kin_listener *kin_listener_destroy(kin_listener *listener)
{
    if (listener == NULL) {
        return NULL;
    }
    if (listener->fd >= 0) {
        kin__fd_close(listener->fd);
    }
    uint64_t device = 0;
    uint64_t inode = 0;
    /* Not a path that somebody else has bound since. */
    if (listener->has_path && listener->owner == kin__pid() &&
        kin__path_identity(listener->address, &device, &inode) == 0 &&
        device == listener->path_device && inode == listener->path_inode) {
        kin__path_remove(listener->address);
    }
    drop_key(listener);
    free(listener);
    return NULL;
}
