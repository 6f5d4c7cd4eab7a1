"""Connections between processes: pipes, listeners and clients, authentication, waiting for many."""

import os
import socket
import time

from kinfolk import _core, reduction, util
from kinfolk.context import AuthenticationError, BufferTooShort  # noqa: F401

__all__ = ["Client", "Connection", "Listener", "Pipe", "wait"]

BUFSIZE = 8192

# Seconds for which a client tries again to reach a listener that refuses it.
CONNECTION_TIMEOUT = 20.0

default_family = "AF_UNIX"
families = ["AF_INET", "AF_UNIX"]


def arbitrary_address(family):
    """An address of that family that nobody uses."""
    if family == "AF_INET":
        return ("localhost", 0)
    if family == "AF_UNIX":
        import tempfile  # which imports the compressors

        return tempfile.mktemp(prefix="listener-", dir=util.get_temp_dir())
    raise ValueError("unrecognized family")


def _validate_family(family):
    if family == "AF_PIPE" or (family == "AF_UNIX" and not hasattr(socket, family)):
        raise ValueError(f"Family {family} is not recognized.")


def address_type(address):
    """The family of an address: a tuple is AF_INET's, a string AF_UNIX's."""
    if type(address) is tuple:
        return "AF_INET"
    if type(address) is str and address.startswith("\\\\"):
        return "AF_PIPE"
    if type(address) is str or util.is_abstract_socket_namespace(address):
        return "AF_UNIX"
    raise ValueError(f"address type of {address!r} unrecognized")


_ConnectionBase = _core.Connection


class Connection(_core.Connection):
    """Messages over an open pipe or stream socket, whose descriptor it takes over.

    ``handle``: the descriptor, closed with the connection. Framed as the documentation of
    multiprocessing's protocol has it, so the other end may be a foreign program.
    """


def Pipe(duplex=True):
    """Two connections that are joined; if not ``duplex``, (receiving, sending)."""
    return Connection._pipe(duplex)


def reduce_connection(conn):
    """How a connection is pickled: by its descriptor, duplicated for the receiver."""
    return rebuild_connection, (
        reduction.DupFd(conn.fileno()),
        conn.readable,
        conn.writable,
        conn._ref(),
    )


def rebuild_connection(df, readable, writable, ref=b""):
    """The connection in the process that unpickles it."""
    return Connection._attach(ref, df.detach(), readable, writable)


reduction.register(Connection, reduce_connection)


# --- listeners and clients --------------------------------------------------------------------


class SocketListener:
    """A socket that listens at an address."""

    def __init__(self, address, family, backlog=1):
        self._socket = socket.socket(getattr(socket, family))
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setblocking(True)
            self._socket.bind(address)
            self._socket.listen(backlog)
            self._address = self._socket.getsockname()
        except OSError:
            self._socket.close()
            raise
        self._family = family
        self._last_accepted = None
        self._unlink = None
        if family == "AF_UNIX" and not util.is_abstract_socket_namespace(address):
            self._unlink = util.Finalize(self, os.unlink, args=(address,), exitpriority=0)

    def accept(self):
        """A connection to the next client."""
        client, self._last_accepted = self._socket.accept()
        client.setblocking(True)
        return Connection(client.detach())

    def close(self):
        """Stop listening; the name of an AF_UNIX address goes."""
        try:
            self._socket.close()
        finally:
            unlink, self._unlink = self._unlink, None
            if unlink is not None:
                unlink()


def SocketClient(address):
    """A connection to the listener at an address."""
    with socket.socket(getattr(socket, address_type(address))) as sock:
        sock.setblocking(True)
        sock.connect(address)
        return Connection(sock.detach())


class Listener:
    """Waits for connections at an address: of this machine (AF_UNIX) or the network (AF_INET).

    Without an address, one that nobody uses. ``authkey`` (bytes): clients must have the same key.
    """

    def __init__(self, address=None, family=None, backlog=1, authkey=None):
        family = family or (address and address_type(address)) or default_family
        address = address or arbitrary_address(family)
        _validate_family(family)
        if authkey is not None and not isinstance(authkey, bytes):
            raise TypeError("authkey should be a byte string")
        self._listener = SocketListener(address, family, backlog)
        self._authkey = authkey

    def accept(self):
        """The connection to the next client. ``AuthenticationError``: it has another key."""
        if self._listener is None:
            raise OSError("listener is closed")
        connection = self._listener.accept()
        if self._authkey is not None:
            try:
                deliver_challenge(connection, self._authkey)
                answer_challenge(connection, self._authkey)
            except BaseException:
                connection.close()
                raise
        return connection

    def close(self):
        """Stop listening."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    @property
    def address(self):
        """The address at which it listens."""
        return self._listener._address

    @property
    def last_accepted(self):
        """The address of the client that was accepted last, or None."""
        return self._listener._last_accepted

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


def Client(address, family=None, authkey=None):
    """A connection to the listener at ``address``. ``AuthenticationError``: it has another key."""
    family = family or address_type(address)
    _validate_family(family)
    if authkey is not None and not isinstance(authkey, bytes):
        raise TypeError("authkey should be a byte string")
    connection = SocketClient(address)
    if authkey is not None:
        try:
            answer_challenge(connection, authkey)
            deliver_challenge(connection, authkey)
        except BaseException:
            connection.close()
            raise
    return connection


# --- authentication ---------------------------------------------------------------------------
#
# Each end sends random bytes and gets them back hashed with the key. A challenge begins with the
# name of a digest, `{sha256}`, and so does the answer; ends of before Python 3.12 know neither:
# their challenges are 20 bytes without a name, and their answers the bare MD5.

CHALLENGE = _CHALLENGE = b"#CHALLENGE#"
WELCOME = _WELCOME = b"#WELCOME#"
FAILURE = _FAILURE = b"#FAILURE#"

MESSAGE_LENGTH = 40
_MD5ONLY_MESSAGE_LENGTH = 20
_MD5_DIGEST_LEN = 16
_LEGACY_LENGTHS = (_MD5ONLY_MESSAGE_LENGTH, _MD5_DIGEST_LEN)
_LONGEST_MESSAGE = 256

_ALLOWED_DIGESTS = frozenset({b"md5", b"sha256", b"sha384", b"sha3_256", b"sha3_384"})
_LONGEST_DIGEST_NAME = max(map(len, _ALLOWED_DIGESTS))


def _get_digest_name_and_payload(message):
    """(digest name, or "" for a message of the old kind; what comes after it)."""
    if len(message) in _LEGACY_LENGTHS and not message.startswith(b"{"):
        return "", message
    end = message.find(b"}", 1, _LONGEST_DIGEST_NAME + 2)
    if message.startswith(b"{") and end > 0 and message[1:end] in _ALLOWED_DIGESTS:
        return message[1:end].decode("ascii"), message[end + 1 :]
    raise AuthenticationError(
        f"unsupported message length, missing digest prefix, or unsupported digest: {message!r}"
    )


def _digest(authkey, message, name):
    import hmac

    try:
        return hmac.new(authkey, message, name).digest()
    except ValueError:
        # The machine's policy may forbid MD5.
        raise AuthenticationError(f"the digest {name} is not available here") from None


def _create_response(authkey, message):
    """The answer to the challenge that ``message`` is."""
    name = _get_digest_name_and_payload(message)[0]
    if not name:
        return _digest(authkey, message, "md5")
    return b"{%s}%s" % (name.encode("ascii"), _digest(authkey, message, name))


def _verify_challenge(authkey, message, response):
    """``AuthenticationError`` unless ``response`` answers the challenge that ``message`` was."""
    name, answer = _get_digest_name_and_payload(response)
    expected = _digest(authkey, message, name or "md5")
    if len(expected) != len(answer):
        raise AuthenticationError(
            f"expected {name or 'md5'!r} of length {len(expected)} got {len(answer)}"
        )
    import hmac

    if not hmac.compare_digest(expected, answer):
        raise AuthenticationError("digest received was wrong")


def deliver_challenge(connection, authkey, digest_name="sha256"):
    """Make the other end show that it has the key."""
    if not isinstance(authkey, bytes):
        raise ValueError(f"Authkey must be bytes, not {type(authkey)!s}")
    message = b"{%s}%s" % (digest_name.encode("ascii"), os.urandom(MESSAGE_LENGTH))
    connection.send_bytes(_CHALLENGE + message)
    response = connection.recv_bytes(_LONGEST_MESSAGE)
    try:
        _verify_challenge(authkey, message, response)
    except AuthenticationError:
        connection.send_bytes(_FAILURE)
        raise
    connection.send_bytes(_WELCOME)


def answer_challenge(connection, authkey):
    """Show the other end that this one has the key."""
    if not isinstance(authkey, bytes):
        raise ValueError(f"Authkey must be bytes, not {type(authkey)!s}")
    message = connection.recv_bytes(_LONGEST_MESSAGE)
    if not message.startswith(_CHALLENGE):
        raise AuthenticationError(f"Protocol error, expected challenge: {message!r}")
    message = message[len(_CHALLENGE) :]
    if len(message) < _MD5ONLY_MESSAGE_LENGTH:
        raise AuthenticationError(f"challenge too short: {len(message)} bytes")
    connection.send_bytes(_create_response(authkey, message))
    if connection.recv_bytes(_LONGEST_MESSAGE) != _WELCOME:
        raise AuthenticationError("digest sent was rejected")


# --- connections whose objects travel as XML-RPC ----------------------------------------------


class ConnectionWrapper:
    """A connection whose objects are turned into bytes by other functions than pickle's."""

    def __init__(self, conn, dumps, loads):
        self._conn = conn
        self._dumps = dumps
        self._loads = loads
        for name in ("fileno", "close", "poll", "recv_bytes", "send_bytes"):
            setattr(self, name, getattr(conn, name))

    def send(self, obj):
        """Send an object."""
        self._conn.send_bytes(self._dumps(obj))

    def recv(self):
        """Receive an object."""
        return self._loads(self._conn.recv_bytes())


def _xml_dumps(obj):
    import xmlrpc.client

    return xmlrpc.client.dumps((obj,), None, None, None, 1).encode("utf-8")


def _xml_loads(data):
    import xmlrpc.client

    return xmlrpc.client.loads(data.decode("utf-8"))[0][0]


class XmlListener(Listener):
    """A listener whose connections carry XML-RPC values."""

    def accept(self):
        """The connection to the next client."""
        return ConnectionWrapper(super().accept(), _xml_dumps, _xml_loads)


def XmlClient(*args, **kwds):
    """A connection to an ``XmlListener``."""
    return ConnectionWrapper(Client(*args, **kwds), _xml_dumps, _xml_loads)


# --- waiting ----------------------------------------------------------------------------------


def wait(object_list, timeout=None):
    """The objects of the list that are ready to be read, as a list; at least one, or time is up.

    Objects: connections, sockets, sentinels, and whatever else has a ``fileno`` or is one.
    ``timeout`` in seconds; None waits for ever, and 0 or less only looks.
    """
    objects = list(object_list)
    if not objects:
        while timeout is None:
            time.sleep(3600)
        time.sleep(max(timeout, 0))
        return []
    end = None if timeout is None else time.monotonic() + timeout
    while True:
        ready = _core.wait(objects, timeout)
        # A queue's descriptor may be readable although another process got what was there.
        certain = [obj for obj in ready if getattr(obj, "_confirm", _yes)()]
        if certain or not ready:
            return certain
        if end is not None:
            timeout = max(end - time.monotonic(), 0)


def _yes():
    return True
