"""Managers: objects that live in a server process and are used through proxies.

A request is (object's id, method, args, kwds), a reply (kind, value); kinds are the strings below. A
connection carries the requests of one thread, after ``accept_connection`` was asked of it.
"""

import array
import os
import queue
import signal
import sys
import threading
import traceback
import types

from kinfolk import connection, context, pool, process, reduction, util

try:
    from kinfolk import shared_memory
except ImportError:
    HAS_SHMEM = False
else:
    HAS_SHMEM = True

__all__ = ["BaseManager", "BaseProxy", "SharedMemoryManager", "SyncManager", "Token"]

_RETURN, _ERROR, _TRACEBACK = "#RETURN", "#ERROR", "#TRACEBACK"
_PROXY, _UNSERIALIZABLE = "#PROXY", "#UNSERIALIZABLE"


# --- pickling of what managers send -----------------------------------------------------------


def reduce_array(a):
    """How an ``array.array`` is pickled."""
    return array.array, (a.typecode, a.tobytes())


reduction.register(array.array, reduce_array)


def rebuild_as_list(obj):
    """A view of a dictionary is pickled as the list of what it has."""
    return list, (list(obj),)


view_types = [type(getattr({}, name)()) for name in ("items", "keys", "values")]
for _view in view_types:
    reduction.register(_view, rebuild_as_list)


# --- words --------------------------------------------------------------------------------------


class Token:
    """Which object: the type that it was created as, its server's address, its id there."""

    __slots__ = ("typeid", "address", "id")

    def __init__(self, typeid, address, id):
        self.typeid, self.address, self.id = typeid, address, id

    def __getstate__(self):
        return self.typeid, self.address, self.id

    def __setstate__(self, state):
        self.typeid, self.address, self.id = state

    def __repr__(self):
        return (
            f"{type(self).__name__}(typeid={self.typeid!r}, address={self.address!r}, "
            f"id={self.id!r})"
        )


class RemoteError(Exception):
    """The server could not do what it was asked; its traceback, as text."""

    def __str__(self):
        rule = "-" * 75
        return f"\n{rule}\n{self.args[0]}{rule}"


def dispatch(c, id, methodname, args=(), kwds={}):
    """Ask the server at the other end of a connection, and return what it answers."""
    c.send((id, methodname, args, kwds))
    kind, result = c.recv()
    if kind == _RETURN:
        return result
    try:
        raise convert_to_error(kind, result)
    finally:
        del result


def convert_to_error(kind, result):
    """The exception that a reply stands for."""
    if kind == _ERROR:
        return result
    if kind in (_TRACEBACK, _UNSERIALIZABLE):
        if not isinstance(result, str):
            raise TypeError(f"Result {result!r} (kind '{kind}') type is {type(result)}, not str")
        if kind == _UNSERIALIZABLE:
            return RemoteError(f"Unserializable message: {result}\n")
        return RemoteError(result)
    return ValueError(f"Unrecognized message type {kind!r}")


def all_methods(obj):
    """The names of all methods of an object."""
    return [name for name in dir(obj) if callable(getattr(obj, name))]


def public_methods(obj):
    """The names of its methods that do not begin with an underscore."""
    return [name for name in all_methods(obj) if name[0] != "_"]


# --- the server ---------------------------------------------------------------------------------


class Server:
    """Holds the objects and does what proxies ask."""

    public = [
        "shutdown",
        "create",
        "accept_connection",
        "get_methods",
        "debug_info",
        "number_of_objects",
        "dummy",
        "incref",
        "decref",
    ]

    def __init__(self, registry, address, authkey, serializer):
        if not isinstance(authkey, bytes):
            raise TypeError(f"Authkey {authkey!r} is type {type(authkey)!s}, not bytes")
        self.registry = registry
        self.authkey = process.AuthenticationString(authkey)
        listener, _ = listener_client[serializer]
        self.listener = listener(address=address, backlog=128)
        self.address = self.listener.address
        # id -> (object, names that may be called, {method: type of proxy for what it returns})
        self.id_to_obj = {"0": (None, ())}
        self.id_to_refcount = {}
        # Proxies of this server's own objects that came back in requests.
        self.id_to_local_proxy_obj = {}
        self.mutex = threading.Lock()

    def serve_forever(self):
        """Serve until somebody asks for the shutdown, then exit."""
        self.stop_event = threading.Event()
        process.current_process()._manager_server = self
        try:
            threading.Thread(target=self.accepter, daemon=True).start()
            try:
                while not self.stop_event.is_set():
                    self.stop_event.wait(1)
            except (KeyboardInterrupt, SystemExit):
                pass
        finally:
            if sys.stdout is not sys.__stdout__:
                util.debug("resetting stdout, stderr")
                sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
            sys.exit(0)

    def accepter(self):
        """The life of the thread that accepts connections."""
        while True:
            try:
                client = self.listener.accept()
            except OSError:
                if self.listener._listener is None:
                    return
                continue
            threading.Thread(target=self.handle_request, args=(client,), daemon=True).start()

    def _request(self, client):
        try:
            connection.deliver_challenge(client, self.authkey)
            connection.answer_challenge(client, self.authkey)
            request = client.recv()
            _, name, args, kwds = request
            if name not in self.public:
                raise AssertionError(f"{name!r} unrecognized")
            function = getattr(self, name)
        except Exception:
            return _TRACEBACK, traceback.format_exc()
        try:
            return _RETURN, function(client, *args, **kwds)
        except Exception:
            return _TRACEBACK, traceback.format_exc()

    def handle_request(self, conn):
        """The life of a thread: one request to the server itself."""
        try:
            reply = self._request(conn)
            try:
                conn.send(reply)
            except Exception:
                try:
                    conn.send((_TRACEBACK, traceback.format_exc()))
                except Exception as error:
                    util.info("Failure to send message: %r", reply)
                    util.info(" ... exception was %r", error)
        except SystemExit:
            pass
        finally:
            conn.close()

    def _object(self, ident):
        try:
            return self.id_to_obj[ident]
        except KeyError:
            # It may have been freed here while a proxy of it is in another object.
            try:
                return self.id_to_local_proxy_obj[ident]
            except KeyError:
                pass
            raise

    def _call(self, request):
        """The reply to a proxy's request."""
        ident, name, args, kwds = request
        obj, exposed, to_typeid = self._object(ident)
        if name not in exposed:
            fallback = self.fallback_mapping.get(name)
            if fallback is None:
                raise AttributeError(
                    f"method {name!r} of {type(obj)!r} object is not in exposed={exposed!r}"
                )
            return _RETURN, fallback(self, None, ident, obj, *args, **kwds)
        function = getattr(obj, name)
        try:
            result = function(*args, **kwds)
        except Exception as error:
            return _ERROR, error
        typeid = to_typeid and to_typeid.get(name)
        if typeid:
            rident, rexposed = self.create(None, typeid, result)
            return _PROXY, (rexposed, Token(typeid, self.address, rident))
        return _RETURN, result

    def serve_client(self, conn):
        """Do what the proxies of one thread ask, until it has enough."""
        util.debug("starting server thread to service %r", threading.current_thread().name)
        while not self.stop_event.is_set():
            try:
                request = conn.recv()
            except EOFError:
                util.debug("got EOF -- exiting thread serving %r", threading.current_thread().name)
                break
            except Exception:
                reply = _TRACEBACK, traceback.format_exc()
            else:
                try:
                    reply = self._call(request)
                except Exception:
                    reply = _TRACEBACK, traceback.format_exc()
            try:
                try:
                    conn.send(reply)
                except Exception:
                    conn.send((_UNSERIALIZABLE, traceback.format_exc()))
            except Exception as error:
                util.info("exception in thread serving %r", threading.current_thread().name)
                util.info(" ... message was %r", reply)
                util.info(" ... exception was %r", error)
                break
            # What was asked and answered is not kept until the next request.
            request = reply = None
        conn.close()

    def fallback_getvalue(self, conn, ident, obj):
        """The object itself."""
        return obj

    def fallback_str(self, conn, ident, obj):
        """Its ``str``."""
        return str(obj)

    def fallback_repr(self, conn, ident, obj):
        """Its ``repr``."""
        return repr(obj)

    fallback_mapping = {
        "__str__": fallback_str,
        "__repr__": fallback_repr,
        "#GETVALUE": fallback_getvalue,
    }

    def dummy(self, c):
        """Do nothing: whoever asks sees that the server is there."""

    def debug_info(self, c):
        """A text about the objects that there are."""
        with self.mutex:
            lines = []
            for ident in sorted(self.id_to_refcount):
                lines.append(f"  {ident}:       refcount={self.id_to_refcount[ident]}")
                lines.append(f"    {str(self.id_to_obj[ident][0])[:75]}")
            return "\n".join(lines)

    def number_of_objects(self, c):
        """How many objects there are."""
        return len(self.id_to_refcount)

    def shutdown(self, c):
        """Stop serving."""
        try:
            util.debug("manager received shutdown message")
            c.send((_RETURN, None))
        except Exception:
            traceback.print_exc()
        finally:
            self.stop_event.set()

    def create(self, c, typeid, /, *args, **kwds):
        """Make an object of a registered type; (its id, what may be called)."""
        with self.mutex:
            make, exposed, to_typeid, proxytype = self.registry[typeid]
            if make is None:
                if kwds or len(args) != 1:
                    raise ValueError("Without callable, must have one non-keyword argument")
                obj = args[0]
            else:
                obj = make(*args, **kwds)
            exposed = public_methods(obj) if exposed is None else exposed
            if to_typeid is not None:
                if not isinstance(to_typeid, dict):
                    raise TypeError(
                        f"Method_to_typeid {to_typeid!r}: type {type(to_typeid)!s}, not dict"
                    )
                exposed = [*exposed, *to_typeid]
            ident = f"{id(obj):x}"
            util.debug("%r callable returned object with id %r", typeid, ident)
            self.id_to_obj[ident] = obj, set(exposed), to_typeid
            self.id_to_refcount.setdefault(ident, 0)
        self.incref(c, ident)
        return ident, tuple(exposed)

    def get_methods(self, c, token):
        """What may be called of an object."""
        return tuple(self.id_to_obj[token.id][1])

    def accept_connection(self, c, name):
        """From here on this connection carries the requests of the proxies of one thread."""
        threading.current_thread().name = name
        c.send((_RETURN, None))
        self.serve_client(c)

    def incref(self, c, ident):
        """One proxy more."""
        with self.mutex:
            if ident not in self.id_to_refcount and ident in self.id_to_local_proxy_obj:
                # It was freed, but a proxy in another object still knew it.
                self.id_to_refcount[ident] = 0
                self.id_to_obj[ident] = self.id_to_local_proxy_obj[ident]
            self.id_to_refcount[ident] += 1

    def decref(self, c, ident):
        """One proxy less; the object goes with the last."""
        with self.mutex:
            if ident not in self.id_to_refcount and ident in self.id_to_local_proxy_obj:
                util.debug("Server DECREF skipping %r", ident)
                return
            count = self.id_to_refcount[ident]
            if count <= 0:
                raise AssertionError(f"Id {ident!s} has refcount {count:n}, not 1+")
            self.id_to_refcount[ident] = count - 1
            if count > 1:
                return
            del self.id_to_refcount[ident]
            # Its end may run anything, which must not find the lock held.
            obj = self.id_to_obj.pop(ident, None)
        util.debug("disposing of obj with id %r", ident)
        del obj


# --- managers -----------------------------------------------------------------------------------


class State:
    """How far a manager is."""

    __slots__ = ["value"]
    INITIAL = 0
    STARTED = 1
    SHUTDOWN = 2


listener_client = {
    "pickle": (connection.Listener, connection.Client),
    "xmlrpclib": (connection.XmlListener, connection.XmlClient),
}


class BaseManager:
    """A server process and what it can make; ``register`` says what that is.

    ``address``: where the server listens; None: anywhere. ``authkey``: bytes that proxies' processes
    must know; None: this process's. ``serializer``: "pickle" or "xmlrpclib".
    """

    _registry = {}
    _Server = Server

    def __init__(
        self, address=None, authkey=None, serializer="pickle", ctx=None, *, shutdown_timeout=1.0
    ):
        if authkey is None:
            authkey = process.current_process().authkey
        self._address = address
        self._authkey = process.AuthenticationString(authkey)
        self._state = State()
        self._state.value = State.INITIAL
        self._serializer = serializer
        self._Listener, self._Client = listener_client[serializer]
        self._ctx = ctx or context._default_context.get_context()
        self._shutdown_timeout = shutdown_timeout

    def _check_initial(self):
        state = self._state.value
        if state == State.STARTED:
            raise context.ProcessError("Already started server")
        if state == State.SHUTDOWN:
            raise context.ProcessError("Manager has shut down")
        if state != State.INITIAL:
            raise context.ProcessError(f"Unknown state {state!r}")

    def get_server(self):
        """A server, whose ``serve_forever`` runs it in this process."""
        self._check_initial()
        return Server(self._registry, self._address, self._authkey, self._serializer)

    def connect(self):
        """Use the server that another process runs at the address."""
        _, client = listener_client[self._serializer]
        conn = client(self._address, authkey=self._authkey)
        dispatch(conn, None, "dummy")
        self._state.value = State.STARTED

    def start(self, initializer=None, initargs=()):
        """Start the server process, in which ``initializer(*initargs)`` runs first."""
        self._check_initial()
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        reader, writer = connection.Pipe(duplex=False)
        self._process = self._ctx.Process(
            target=type(self)._run_server,
            args=(
                self._registry,
                self._address,
                self._authkey,
                self._serializer,
                writer,
                initializer,
                initargs,
            ),
        )
        identity = ":".join(map(str, self._process._identity))
        self._process.name = f"{type(self).__name__}-{identity}"
        self._process.start()
        writer.close()
        self._address = reader.recv()
        reader.close()
        self._state.value = State.STARTED
        self.shutdown = util.Finalize(
            self,
            type(self)._finalize_manager,
            args=(
                self._process,
                self._address,
                self._authkey,
                self._state,
                self._Client,
                self._shutdown_timeout,
            ),
            exitpriority=0,
        )

    @classmethod
    def _run_server(
        cls, registry, address, authkey, serializer, writer, initializer=None, initargs=()
    ):
        """The life of the server process."""
        # Ctrl-C is for the process that has the manager, whose end is the server's.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if initializer is not None:
            initializer(*initargs)
        server = cls._Server(registry, address, authkey, serializer)
        writer.send(server.address)
        writer.close()
        util.info("manager serving at %r", server.address)
        server.serve_forever()

    def _create(self, typeid, /, *args, **kwds):
        if self._state.value != State.STARTED:
            raise AssertionError("server not yet started")
        conn = self._Client(self._address, authkey=self._authkey)
        try:
            ident, exposed = dispatch(conn, None, "create", (typeid, *args), kwds)
        finally:
            conn.close()
        return Token(typeid, self._address, ident), exposed

    def join(self, timeout=None):
        """Wait until the server process has ended."""
        if self._process is not None:
            self._process.join(timeout)
            if not self._process.is_alive():
                self._process = None

    def _ask(self, question):
        conn = self._Client(self._address, authkey=self._authkey)
        try:
            return dispatch(conn, None, question)
        finally:
            conn.close()

    def _debug_info(self):
        return self._ask("debug_info")

    def _number_of_objects(self):
        return self._ask("number_of_objects")

    def __enter__(self):
        if self._state.value == State.INITIAL:
            self.start()
        if self._state.value != State.STARTED:
            if self._state.value == State.SHUTDOWN:
                raise context.ProcessError("Manager has shut down")
            raise context.ProcessError("Unable to start server")
        return self

    def __exit__(self, *exc_info):
        self.shutdown()

    @staticmethod
    def _finalize_manager(process, address, authkey, state, _Client, shutdown_timeout):
        """Ask the server to end, and make sure that it does."""
        if process.is_alive():
            util.info("sending shutdown message to manager")
            try:
                conn = _Client(address, authkey=authkey)
                try:
                    dispatch(conn, None, "shutdown")
                finally:
                    conn.close()
            except Exception:
                pass
            for what in (None, "terminate", "kill"):
                if what is not None:
                    util.info("manager still alive: %s()", what)
                    getattr(process, what)()
                process.join(timeout=shutdown_timeout)
                if not process.is_alive():
                    break
        state.value = State.SHUTDOWN
        BaseProxy._address_to_local.pop(address, None)

    @property
    def address(self):
        """Where the server listens."""
        return self._address

    @classmethod
    def register(
        cls,
        typeid,
        callable=None,
        proxytype=None,
        exposed=None,
        method_to_typeid=None,
        create_method=True,
    ):
        """Make the server able to make objects of a type: by ``callable``, under a method ``typeid``.

        ``proxytype``: the class of proxies; ``exposed``: what may be called through them;
        ``method_to_typeid``: for methods that return what is to be a proxy, the type of that;
        ``create_method``: whether the manager gets the method ``typeid``.
        """
        if "_registry" not in cls.__dict__:
            cls._registry = cls._registry.copy()
        if proxytype is None:
            proxytype = AutoProxy
        exposed = exposed or getattr(proxytype, "_exposed_", None)
        method_to_typeid = method_to_typeid or getattr(proxytype, "_method_to_typeid_", None)
        for key, value in (method_to_typeid or {}).items():
            for word in (key, value):
                if type(word) is not str:
                    raise TypeError(f"{word!r} is not a string")
        cls._registry[typeid] = callable, exposed, method_to_typeid, proxytype
        if not create_method:
            return

        def make(self, /, *args, **kwds):
            util.debug("requesting creation of a shared %r object", typeid)
            token, exposed = self._create(typeid, *args, **kwds)
            proxy = proxytype(
                token, self._serializer, manager=self, authkey=self._authkey, exposed=exposed
            )
            # The one that the server counted for the creation.
            conn = self._Client(token.address, authkey=self._authkey)
            try:
                dispatch(conn, None, "decref", (token.id,))
            finally:
                conn.close()
            return proxy

        make.__name__ = typeid
        make.__doc__ = f"A proxy of a new ``{typeid}`` in the server."
        setattr(cls, typeid, make)


# --- proxies ------------------------------------------------------------------------------------


class ProcessLocalSet(set):
    """A set that is empty in forked children, and pickled empty."""

    def __init__(self):
        util.register_after_fork(self, lambda members: members.clear())

    def __reduce__(self):
        return type(self), ()


class BaseProxy:
    """Stands for an object in a server: calls its methods there, and keeps it alive."""

    # address -> (the thread's connection there, ids of the objects that this process holds)
    _address_to_local = {}
    _mutex = util.ForkAwareThreadLock()

    def __init__(
        self,
        token,
        serializer,
        manager=None,
        authkey=None,
        exposed=None,
        incref=True,
        manager_owned=False,
    ):
        with BaseProxy._mutex:
            local = BaseProxy._address_to_local.get(token.address)
            if local is None:
                local = util.ForkAwareLocal(), ProcessLocalSet()
                BaseProxy._address_to_local[token.address] = local
        self._tls, self._idset = local
        self._token = token
        self._id = token.id
        self._manager = manager
        self._serializer = serializer
        self._Client = listener_client[serializer][1]
        # In the server itself, where the object is kept alive by what the proxy is in.
        self._owned_by_manager = manager_owned
        if authkey is not None:
            self._authkey = process.AuthenticationString(authkey)
        elif self._manager is not None:
            self._authkey = self._manager._authkey
        else:
            self._authkey = process.current_process().authkey
        if incref:
            self._incref()
        util.register_after_fork(self, BaseProxy._after_fork)

    def _connect(self):
        util.debug("making connection to manager")
        name = process.current_process().name
        thread = threading.current_thread().name
        if thread != "MainThread":
            name += f"|{thread}"
        conn = self._Client(self._token.address, authkey=self._authkey)
        dispatch(conn, None, "accept_connection", (name,))
        self._tls.connection = conn

    def _callmethod(self, methodname, args=(), kwds={}):
        """Call a method of the object; returns a copy of what it returns, or a proxy of it."""
        try:
            conn = self._tls.connection
        except AttributeError:
            util.debug("thread %r does not own a connection", threading.current_thread().name)
            self._connect()
            conn = self._tls.connection
        conn.send((self._id, methodname, args, kwds))
        kind, result = conn.recv()
        if kind == _RETURN:
            return result
        if kind == _PROXY:
            exposed, token = result
            proxytype = self._manager._registry[token.typeid][-1]
            token.address = self._token.address
            proxy = proxytype(
                token,
                self._serializer,
                manager=self._manager,
                authkey=self._authkey,
                exposed=exposed,
            )
            conn = self._Client(token.address, authkey=self._authkey)
            try:
                dispatch(conn, None, "decref", (token.id,))
            finally:
                conn.close()
            return proxy
        try:
            raise convert_to_error(kind, result)
        finally:
            del result

    def _getvalue(self):
        """A copy of the object."""
        return self._callmethod("#GETVALUE")

    def _incref(self):
        if self._owned_by_manager:
            util.debug("owned_by_manager skipped INCREF of %r", self._token.id)
            return
        conn = self._Client(self._token.address, authkey=self._authkey)
        try:
            dispatch(conn, None, "incref", (self._id,))
        finally:
            conn.close()
        util.debug("INCREF %r", self._token.id)
        self._idset.add(self._id)
        state = self._manager and self._manager._state
        self._close = util.Finalize(
            self,
            BaseProxy._decref,
            args=(self._token, self._authkey, state, self._tls, self._idset, self._Client),
            exitpriority=10,
        )

    @staticmethod
    def _decref(token, authkey, state, tls, idset, _Client):
        idset.discard(token.id)
        # A server that was shut down has forgotten all.
        if state is None or state.value == State.STARTED:
            try:
                util.debug("DECREF %r", token.id)
                conn = _Client(token.address, authkey=authkey)
                try:
                    dispatch(conn, None, "decref", (token.id,))
                finally:
                    conn.close()
            except Exception as error:
                util.debug("... decref failed %s", error)
        else:
            util.debug("DECREF %r -- manager already shutdown", token.id)
        # The thread's last proxy takes the connection along.
        if not idset and hasattr(tls, "connection"):
            util.debug(
                "thread %r has no more proxies so closing conn", threading.current_thread().name
            )
            tls.connection.close()
            del tls.connection

    def _after_fork(self):
        self._manager = None
        try:
            self._incref()
        except Exception as error:
            # The server may be gone.
            util.info("incref failed: %s", error)

    def __reduce__(self):
        kwds = {}
        if context.get_spawning_popen() is not None:
            kwds["authkey"] = self._authkey
        if getattr(self, "_isauto", False):
            kwds["exposed"] = self._exposed_
            return RebuildProxy, (AutoProxy, self._token, self._serializer, kwds)
        return RebuildProxy, (type(self), self._token, self._serializer, kwds)

    def __deepcopy__(self, memo):
        return self._getvalue()

    def __repr__(self):
        return f"<{type(self).__name__} object, typeid {self._token.typeid!r} at {id(self):#x}>"

    def __str__(self):
        """The ``repr`` of the object."""
        try:
            return self._callmethod("__repr__")
        except Exception:
            return repr(self)[:-1] + "; '__str__()' failed>"


def RebuildProxy(func, token, serializer, kwds):
    """The proxy in the process that unpickles it."""
    server = getattr(process.current_process(), "_manager_server", None)
    if server is not None and server.address == token.address:
        util.debug("Rebuild a proxy owned by manager, token=%r", token)
        kwds["manager_owned"] = True
        if token.id not in server.id_to_local_proxy_obj:
            server.id_to_local_proxy_obj[token.id] = server.id_to_obj[token.id]
    # While a child is prepared it has the key of nobody yet.
    incref = kwds.pop("incref", True) and not getattr(
        process.current_process(), "_inheriting", False
    )
    return func(token, serializer, incref=incref, **kwds)


def _method(name):
    def call(self, /, *args, **kwds):
        return self._callmethod(name, args, kwds)

    call.__name__ = name
    call.__doc__ = f"``{name}`` of the object."
    return call


def MakeProxyType(name, exposed, _cache={}):
    """A class of proxies with the methods named in ``exposed``."""
    exposed = tuple(exposed)
    found = _cache.get((name, exposed))
    if found is None:
        members = {method: _method(method) for method in exposed}
        members["_exposed_"] = exposed
        found = _cache[name, exposed] = type(name, (BaseProxy,), members)
    return found


def AutoProxy(
    token,
    serializer,
    manager=None,
    authkey=None,
    exposed=None,
    incref=True,
    manager_owned=False,
):
    """A proxy with all that may be called of the object, about which the server is asked."""
    client = listener_client[serializer][1]
    if exposed is None:
        conn = client(token.address, authkey=authkey)
        try:
            exposed = dispatch(conn, None, "get_methods", (token,))
        finally:
            conn.close()
    if authkey is None and manager is not None:
        authkey = manager._authkey
    if authkey is None:
        authkey = process.current_process().authkey
    cls = MakeProxyType(f"AutoProxy[{token.typeid}]", exposed)
    proxy = cls(
        token,
        serializer,
        manager=manager,
        authkey=authkey,
        incref=incref,
        manager_owned=manager_owned,
    )
    proxy._isauto = True
    return proxy


# --- the types of SyncManager ---------------------------------------------------------------------


class Namespace:
    """An object with attributes."""

    def __init__(self, /, **kwds):
        self.__dict__.update(kwds)

    def __repr__(self):
        shown = sorted(f"{k}={v!r}" for k, v in self.__dict__.items() if not k.startswith("_"))
        return f"{type(self).__name__}({', '.join(shown)})"


class Value:
    """An object with a ``value``."""

    def __init__(self, typecode, value, lock=True):
        self._typecode = typecode
        self._value = value

    def get(self):
        """The value."""
        return self._value

    def set(self, value):
        """Replace it."""
        self._value = value

    value = property(get, set)

    def __repr__(self):
        return f"{type(self).__name__}({self._typecode!r}, {self._value!r})"


def Array(typecode, sequence, lock=True):
    """An ``array.array``."""
    return array.array(typecode, sequence)


class IteratorProxy(BaseProxy):
    """A proxy of an iterator or generator."""

    _exposed_ = ("__next__", "send", "throw", "close")
    __next__ = _method("__next__")
    send = _method("send")
    throw = _method("throw")
    close = _method("close")

    def __iter__(self):
        return self


class AcquirerProxy(BaseProxy):
    """A proxy of a lock or semaphore."""

    _exposed_ = ("acquire", "release", "locked")
    release = _method("release")
    locked = _method("locked")

    def acquire(self, blocking=True, timeout=None):
        """``acquire`` of the object."""
        args = (blocking,) if timeout is None else (blocking, timeout)
        return self._callmethod("acquire", args)

    def __enter__(self):
        return self._callmethod("acquire")

    def __exit__(self, *exc_info):
        return self._callmethod("release")


class ConditionProxy(AcquirerProxy):
    """A proxy of a condition."""

    _exposed_ = ("acquire", "release", "wait", "notify", "notify_all")

    def wait(self, timeout=None):
        """``wait`` of the object."""
        return self._callmethod("wait", (timeout,))

    def notify(self, n=1):
        """``notify`` of the object."""
        return self._callmethod("notify", (n,))

    notify_all = _method("notify_all")

    def wait_for(self, predicate, timeout=None):
        """Wait until ``predicate()``, called here, is true; its last value."""
        return util._wait_for(self, predicate, timeout)


class EventProxy(BaseProxy):
    """A proxy of an event."""

    _exposed_ = ("is_set", "set", "clear", "wait")
    is_set = _method("is_set")
    set = _method("set")
    clear = _method("clear")

    def wait(self, timeout=None):
        """``wait`` of the object."""
        return self._callmethod("wait", (timeout,))


def _attribute(name):
    return property(
        lambda self: self._callmethod("__getattribute__", (name,)),
        doc=f"``{name}`` of the object.",
    )


class BarrierProxy(BaseProxy):
    """A proxy of a barrier."""

    _exposed_ = ("__getattribute__", "wait", "abort", "reset")
    abort = _method("abort")
    reset = _method("reset")
    parties = _attribute("parties")
    n_waiting = _attribute("n_waiting")
    broken = _attribute("broken")

    def wait(self, timeout=None):
        """``wait`` of the object."""
        return self._callmethod("wait", (timeout,))


class NamespaceProxy(BaseProxy):
    """A proxy of a namespace; attributes that begin with an underscore are the proxy's own."""

    _exposed_ = ("__getattribute__", "__setattr__", "__delattr__")

    def __getattr__(self, key):
        if key[0] == "_":
            return object.__getattribute__(self, key)
        return object.__getattribute__(self, "_callmethod")("__getattribute__", (key,))

    def __setattr__(self, key, value):
        if key[0] == "_":
            return object.__setattr__(self, key, value)
        return object.__getattribute__(self, "_callmethod")("__setattr__", (key, value))

    def __delattr__(self, key):
        if key[0] == "_":
            return object.__delattr__(self, key)
        return object.__getattribute__(self, "_callmethod")("__delattr__", (key,))


class ValueProxy(BaseProxy):
    """A proxy of a value."""

    _exposed_ = ("get", "set")
    get = _method("get")

    def set(self, value):
        """Replace it."""
        return self._callmethod("set", (value,))

    value = property(get, set)

    __class_getitem__ = classmethod(types.GenericAlias)


BaseListProxy = MakeProxyType(
    "BaseListProxy",
    (
        "__add__", "__contains__", "__delitem__", "__getitem__", "__imul__", "__len__", "__mul__",
        "__reversed__", "__rmul__", "__setitem__", "append", "clear", "copy", "count", "extend",
        "index", "insert", "pop", "remove", "reverse", "sort",
    ),
)  # fmt: skip


class ListProxy(BaseListProxy):
    """A proxy of a list."""

    def __iadd__(self, value):
        self._callmethod("extend", (value,))
        return self

    def __imul__(self, value):
        self._callmethod("__imul__", (value,))
        return self

    __class_getitem__ = classmethod(types.GenericAlias)


_BaseDictProxy = BaseDictProxy = MakeProxyType(
    "_BaseDictProxy",
    (
        "__contains__", "__delitem__", "__getitem__", "__ior__", "__iter__", "__len__", "__or__",
        "__reversed__", "__ror__", "__setitem__", "clear", "copy", "get", "items", "keys", "pop",
        "popitem", "setdefault", "update", "values",
    ),
)  # fmt: skip
_BaseDictProxy._method_to_typeid_ = {"__iter__": "Iterator"}


class DictProxy(_BaseDictProxy):
    """A proxy of a dictionary."""

    def __ior__(self, value):
        self._callmethod("__ior__", (value,))
        return self

    __class_getitem__ = classmethod(types.GenericAlias)


BaseSetProxy = MakeProxyType(
    "BaseSetProxy",
    (
        "__and__", "__contains__", "__iand__", "__ior__", "__isub__", "__iter__", "__ixor__",
        "__len__", "__or__", "__rand__", "__ror__", "__rsub__", "__rxor__", "__sub__", "__xor__",
        "add", "clear", "copy", "difference", "difference_update", "discard", "intersection",
        "intersection_update", "isdisjoint", "issubset", "issuperset", "pop", "remove",
        "symmetric_difference", "symmetric_difference_update", "union", "update",
    ),
)  # fmt: skip
BaseSetProxy._method_to_typeid_ = {"__iter__": "Iterator"}


class SetProxy(BaseSetProxy):
    """A proxy of a set."""

    def __ior__(self, value):
        self._callmethod("__ior__", (value,))
        return self

    def __iand__(self, value):
        self._callmethod("__iand__", (value,))
        return self

    def __ixor__(self, value):
        self._callmethod("__ixor__", (value,))
        return self

    def __isub__(self, value):
        self._callmethod("__isub__", (value,))
        return self

    __class_getitem__ = classmethod(types.GenericAlias)


ArrayProxy = MakeProxyType("ArrayProxy", ("__len__", "__getitem__", "__setitem__"))

BasePoolProxy = MakeProxyType(
    "PoolProxy",
    (
        "apply", "apply_async", "close", "imap", "imap_unordered", "join", "map", "map_async",
        "starmap", "starmap_async", "terminate",
    ),
)  # fmt: skip
BasePoolProxy._method_to_typeid_ = {
    "apply_async": "AsyncResult",
    "map_async": "AsyncResult",
    "starmap_async": "AsyncResult",
    "imap": "Iterator",
    "imap_unordered": "Iterator",
}


class PoolProxy(BasePoolProxy):
    """A proxy of a pool."""

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.terminate()


class SyncManager(BaseManager):
    """A manager of queues, locks and their kin, lists, dictionaries, values, arrays, namespaces, pools.

    What ``Manager()`` returns. The objects are Python's own, in the server process.
    """


for _name, _make, _proxy in (
    ("Queue", queue.Queue, None),
    ("JoinableQueue", queue.Queue, None),
    ("Event", threading.Event, EventProxy),
    ("Lock", threading.Lock, AcquirerProxy),
    ("RLock", threading.RLock, AcquirerProxy),
    ("Semaphore", threading.Semaphore, AcquirerProxy),
    ("BoundedSemaphore", threading.BoundedSemaphore, AcquirerProxy),
    ("Condition", threading.Condition, ConditionProxy),
    ("Barrier", threading.Barrier, BarrierProxy),
    ("Pool", pool.Pool, PoolProxy),
    ("list", list, ListProxy),
    ("dict", dict, DictProxy),
    ("set", set, SetProxy),
    ("Value", Value, ValueProxy),
    ("Array", Array, ArrayProxy),
    ("Namespace", Namespace, NamespaceProxy),
):
    SyncManager.register(_name, _make, _proxy)
del _name, _make, _proxy, _view

# What methods return; nobody makes them.
SyncManager.register("Iterator", proxytype=IteratorProxy, create_method=False)
SyncManager.register("AsyncResult", create_method=False)


# --- shared memory --------------------------------------------------------------------------------

if HAS_SHMEM:
    __all__ += ["SharedMemoryServer"]

    class _SharedMemoryTracker:
        """The names of the segments that a server is to remove."""

        def __init__(self, name, segment_names=()):
            self.shared_memory_context_name = name
            self.segment_names = list(segment_names)

        def register_segment(self, segment_name):
            """One more."""
            util.debug("Register segment %r in pid %d", segment_name, os.getpid())
            self.segment_names.append(segment_name)

        def destroy_segment(self, segment_name):
            """Remove one."""
            util.debug("Destroy segment %r in pid %d", segment_name, os.getpid())
            self.segment_names.remove(segment_name)
            segment = shared_memory.SharedMemory(segment_name)
            segment.close()
            segment.unlink()

        def unlink(self):
            """Remove all."""
            for segment_name in self.segment_names[:]:
                self.destroy_segment(segment_name)

        def __del__(self):
            util.debug("Call %s.__del__ in %d", type(self).__name__, os.getpid())
            self.unlink()

        def __getstate__(self):
            return self.shared_memory_context_name, self.segment_names

        def __setstate__(self, state):
            self.__init__(*state)

    class SharedMemoryServer(Server):
        """A server that also removes segments."""

        public = [*Server.public, "track_segment", "release_segment", "list_segments"]

        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            address = self.address
            if isinstance(address, bytes):
                address = os.fsdecode(address)
            self.shared_memory_context = _SharedMemoryTracker(f"shm_{address}_{os.getpid()}")
            util.debug("SharedMemoryServer started by pid %d", os.getpid())

        def create(self, c, typeid, /, *args, **kwargs):
            """As the base's; what a type makes of shared memory is tracked."""
            make = self.registry[typeid][-1]
            if hasattr(make, "_shared_memory_proxy"):
                kwargs["shared_memory_context"] = self.shared_memory_context
            return Server.create(self, c, typeid, *args, **kwargs)

        def shutdown(self, c):
            """Remove all segments, then stop."""
            self.shared_memory_context.unlink()
            return Server.shutdown(self, c)

        def track_segment(self, c, segment_name):
            """Remove that segment in the end."""
            self.shared_memory_context.register_segment(segment_name)

        def release_segment(self, c, segment_name):
            """Remove that segment now."""
            self.shared_memory_context.destroy_segment(segment_name)

        def list_segments(self, c):
            """The names of all segments."""
            return self.shared_memory_context.segment_names

    class SharedMemoryManager(BaseManager):
        """A manager of shared memory: what it makes is removed when it is shut down."""

        _Server = SharedMemoryServer

        def __init__(self, *args, **kwargs):
            # The server is to have the same tracker as its parent.
            from kinfolk import resource_tracker

            resource_tracker.ensure_running()
            super().__init__(*args, **kwargs)
            util.debug("%s created by pid %d", type(self).__name__, os.getpid())

        def __del__(self):
            util.debug("%s.__del__ by pid %d", type(self).__name__, os.getpid())

        def get_server(self):
            """A server, whose ``serve_forever`` runs it in this process."""
            self._check_initial()
            return self._Server(self._registry, self._address, self._authkey, self._serializer)

        def _dispatch(self, question, *args):
            with self._Client(self._address, authkey=self._authkey) as conn:
                return dispatch(conn, None, question, args)

        def _track(self, make):
            if self._state.value != State.STARTED:
                if self._state.value == State.INITIAL:
                    raise ValueError("SharedMemoryManager is not started: call start()")
                raise ValueError("SharedMemoryManager has been shut down")
            with self._Client(self._address, authkey=self._authkey) as conn:
                made, segment = make()
                try:
                    dispatch(conn, None, "track_segment", (segment.name,))
                except BaseException:
                    segment.unlink()
                    raise
            return made

        def SharedMemory(self, size):
            """A new segment of that many bytes."""

            def make():
                segment = shared_memory.SharedMemory(None, create=True, size=size)
                return segment, segment

            return self._track(make)

        def ShareableList(self, sequence):
            """A new list of those items."""

            def make():
                made = shared_memory.ShareableList(sequence)
                return made, made.shm

            return self._track(make)
