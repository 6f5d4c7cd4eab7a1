/*
 * Connections over sockets, between processes that need not be related: listeners, clients, and
 * the proof that both ends know the same key.
 *
 * Addresses are text: "/path" or "path" for an AF_UNIX socket in the file system, "@name" for one
 * in the abstract namespace (which vanishes with its process), "host:port" for IPv4 ("*:port": all
 * interfaces; port 0: any free one). Unless the options name the family, text that ends in
 * ":digits" and has no '/' is IPv4. NULL: an abstract name, or 127.0.0.1 and a free port, that
 * kin_listener_address tells.
 *
 * With a key, each end has to prove to the other that it knows the key, without sending it:
 * HMAC challenge and response as in Python's multiprocessing.connection (3.12 and later; older
 * ones are spoken to in HMAC-MD5). Nothing after that is encrypted or authenticated. A client does
 * not answer a challenge that another Kinfolk client with the same key made: so none can be used
 * to answer another's.
 */
#ifndef KINFOLK_LISTENER_H
#define KINFOLK_LISTENER_H

#include <kinfolk/connection.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kin_address_family {
    KIN_ADDRESS_ANY, /* by the text; without text AF_UNIX */
    KIN_ADDRESS_UNIX,
    KIN_ADDRESS_INET,
};

typedef struct kin_listener kin_listener;

struct kin_listener_options {
    size_t size;
    int family;          /* enum kin_address_family */
    int backlog;         /* connections that may wait to be accepted; 0: 128 */
    const void *authkey; /* copied; NULL: no authentication */
    size_t authkey_size;
    int64_t handshake_timeout_ns; /* for the whole of one handshake */
    uint64_t max_message;         /* of accepted connections, see below; 0: none */
    int any_user;                 /* AF_UNIX: 1: also processes of other users (root always may) */
};
#define KIN_LISTENER_OPTIONS_INIT                                                                  \
    {                                                                                              \
        sizeof(struct kin_listener_options), 0, 0, NULL, 0, INT64_C(10000000000), 0, 0             \
    }

struct kin_client_options {
    size_t size;
    int family;
    const void *authkey; /* used during the call only */
    size_t authkey_size;
    int64_t handshake_timeout_ns;
    uint64_t max_message;
    int any_user; /* AF_UNIX: 1: also a listener of another user (root's always) */
};
#define KIN_CLIENT_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(struct kin_client_options), 0, NULL, 0, INT64_C(10000000000), 0, 0                  \
    }

/*
 * max_message: a message of more bytes is not received: its header alone breaks the receiving
 * direction, and every receive then returns KIN_ETOOBIG. It never costs memory.
 */

/*
 * Listens at the address (NULL: chosen). The listener is inherited by forked children, which may
 * accept from it too. -EADDRINUSE, -EACCES, -ENAMETOOLONG, -EADDRNOTAVAIL, -ENOENT (no such
 * folder, or host), ... An AF_UNIX path that a killed process left behind is -EADDRINUSE: remove
 * it. Blocks as long as the system takes to resolve a host name.
 */
KIN_API int kin_listener_create(const char *address, const struct kin_listener_options *options,
                                kin_listener **ret_listener);

/*
 * Accepts one connection and authenticates it. timeout_ns bounds the wait for somebody to come;
 * the handshake has its own limit. -ETIMEDOUT: nobody came. KIN_EAUTH: somebody came who does not
 * have the key, is another user, hung up or took too long; that connection is closed, and the
 * listener goes on. What the interrupt function said; -EMFILE, -ENFILE, KIN_EQUOTA, -ENOMEM.
 * Thread-safe, allowed in forked children.
 */
KIN_API int kin_listener_accept(kin_listener *listener, int64_t timeout_ns,
                                kin_connection **ret_connection);

/* Where it listens, with the name or port that was chosen; valid until the destroy. NULL for NULL.
 */
KIN_API const char *kin_listener_address(const kin_listener *listener);

/* A descriptor that is readable when somebody waits to be accepted; the listener's own. */
KIN_API int kin_listener_fd(const kin_listener *listener);

/*
 * Stops listening; no other thread may use it any more. In the process that created it this also
 * removes an AF_UNIX path, if it is still this listener's. NULL is allowed; returns NULL.
 */
KIN_API kin_listener *kin_listener_destroy(kin_listener *listener);

/*
 * Connects to a listener and authenticates. timeout_ns bounds the wait for the connection, and the
 * handshake has its own limit beside. -ECONNREFUSED, -ENOENT: nobody listens there. -ETIMEDOUT: not
 * connected in time, or the handshake took too long. KIN_EAUTH: the other end refused our key,
 * does not have it, is another user, or hung up in the handshake. What the interrupt function
 * said; -EMFILE, KIN_EQUOTA, -ENOMEM. Thread-safe, allowed in forked children.
 */
KIN_API int kin_client_connect(const char *address, const struct kin_client_options *options,
                               int64_t timeout_ns, kin_connection **ret_connection);

#ifdef __cplusplus
}
#endif

#endif
