/* Clients. Layer: connection. Protocol: docs/design/connection.md. */
#include <errno.h>
#include <kinfolk/listener.h>

#include "base/options.h"
#include "channel/connection.h"
#include "connection/address.h"
#include "connection/authenticate.h"
#include "shm/wait.h"

/* A connected socket. */
static int dial(const struct kin__address *address, int64_t deadline)
{
    for (int fd = -1;;) {
        int64_t until = kin__clock_now() + KIN__SLICE_NS;
        int rc = kin__socket_connect(address, &fd, deadline < until ? deadline : until);
        if (rc == 0) {
            return fd;
        }
        if (rc == -ETIMEDOUT && kin__clock_now() < deadline) {
            rc = kin__interrupted();
        } else if (rc == -EINTR) {
            rc = kin__interrupted();
        }
        if (rc < 0) {
            if (fd >= 0) {
                kin__fd_close(fd);
            }
            return rc;
        }
    }
}

int kin_client_connect(const char *address, const struct kin_client_options *options,
                       int64_t timeout_ns, kin_connection **ret_connection)
{
    struct kin_client_options o = KIN_CLIENT_OPTIONS_INIT;
    if (address == NULL || ret_connection == NULL || kin__options_read(&o, sizeof o, options) < 0 ||
        o.family < 0 || o.family > KIN_ADDRESS_INET || (o.authkey == NULL && o.authkey_size > 0)) {
        return -EINVAL;
    }
    int rc = kin__enter();
    if (rc < 0) {
        return rc;
    }
    struct kin__address_text parsed;
    struct kin__address where;
    rc = kin__address_parse(address, o.family, &parsed);
    if (rc == 0) {
        rc = kin__address_resolve(&parsed, &where);
    }
    if (rc == 0) {
        rc = dial(&where, kin__clock_deadline(timeout_ns));
    }
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
    if (!o.any_user) {
        rc = kin__authenticate_user(connection);
    }
    if (rc == 0 && o.authkey != NULL) {
        rc = kin__authenticate(connection, KIN__HANDSHAKE_CLIENT, o.authkey, o.authkey_size,
                               kin__clock_deadline(o.handshake_timeout_ns));
    }
    if (rc < 0) {
        kin_connection_destroy(connection);
        return rc;
    }
    connection->limit = o.max_message;
    *ret_connection = connection;
    return 0;
}
