/*
 * The bytes of a result that is one small value: without pickle, whose pickler and unpickler cost ten
 * times the value. Layer: python.
 */
#include "task.h"

#include <string.h>

static size_t put(unsigned char *at, char tag, const void *bytes, size_t size)
{
    at[0] = (unsigned char)tag;
    memcpy(at + 1, bytes, size);
    return 1 + size;
}

size_t kin__py_result_plain(PyObject *object, unsigned char at[RESULT_PLAIN_MAX])
{
    if (object == Py_None) {
        return put(at, RESULT_NONE, "", 0);
    }
    if (PyBool_Check(object)) {
        return put(at, object == Py_True ? RESULT_TRUE : RESULT_FALSE, "", 0);
    }
    if (PyLong_CheckExact(object)) {
        int beyond;
        long long value = PyLong_AsLongLongAndOverflow(object, &beyond);
        return beyond != 0 ? 0 : put(at, RESULT_INT, &value, sizeof value);
    }
    if (PyFloat_CheckExact(object)) {
        double value = PyFloat_AS_DOUBLE(object);
        return put(at, RESULT_FLOAT, &value, sizeof value);
    }
    if (PyBytes_CheckExact(object)) {
        size_t size = (size_t)PyBytes_GET_SIZE(object);
        return size >= RESULT_PLAIN_MAX
                   ? 0
                   : put(at, RESULT_BYTES, PyBytes_AS_STRING(object), size);
    }
    if (PyUnicode_CheckExact(object) && PyUnicode_GET_LENGTH(object) < RESULT_PLAIN_MAX) {
        Py_ssize_t size;
        const char *text = PyUnicode_AsUTF8AndSize(object, &size);
        if (text == NULL) {
            PyErr_Clear(); /* half a surrogate pair: pickle knows what to do */
            return 0;
        }
        return size >= RESULT_PLAIN_MAX ? 0 : put(at, RESULT_TEXT, text, (size_t)size);
    }
    return 0;
}

PyObject *kin__py_result_value(struct core_state *state, const char *bytes, size_t size)
{
    const char tag = size == 0 ? '\0' : *bytes;
    const char *data = size == 0 ? bytes : bytes + 1;
    const size_t left = size == 0 ? 0 : size - 1;
    long long integer;
    double number;
    switch (tag) {
    case RESULT_PICKLE:
    case RESULT_ERROR:
        return kin__py_loads(state, data, (Py_ssize_t)left);
    case RESULT_NONE:
        return Py_NewRef(Py_None);
    case RESULT_TRUE:
        return Py_NewRef(Py_True);
    case RESULT_FALSE:
        return Py_NewRef(Py_False);
    case RESULT_INT:
        if (left == sizeof integer) {
            memcpy(&integer, data, sizeof integer);
            return PyLong_FromLongLong(integer);
        }
        break;
    case RESULT_FLOAT:
        if (left == sizeof number) {
            memcpy(&number, data, sizeof number);
            return PyFloat_FromDouble(number);
        }
        break;
    case RESULT_BYTES:
        return PyBytes_FromStringAndSize(data, (Py_ssize_t)left);
    case RESULT_TEXT:
        return PyUnicode_DecodeUTF8(data, (Py_ssize_t)left, NULL);
    default:
        break;
    }
    PyErr_SetString(state->process_error, "a worker sent a malformed result");
    return NULL;
}
