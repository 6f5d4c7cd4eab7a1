/*
 * The bytes of a result that is one small value: without pickle, whose pickler and unpickler cost ten
 * times the value. Layer: python.
 */
#include "task.h"

#include <string.h>

char kin__py_result_plain(PyObject *object, char at[RESULT_PLAIN_MAX], size_t *ret_size)
{
    Py_ssize_t size = 0;
    const char *bytes = NULL;
    char tag = '\0';
    long long integer;
    double number;
    int beyond;
    if (object == Py_None) {
        tag = RESULT_NONE;
    } else if (PyBool_Check(object)) {
        tag = object == Py_True ? RESULT_TRUE : RESULT_FALSE;
    } else if (PyLong_CheckExact(object)) {
        integer = PyLong_AsLongLongAndOverflow(object, &beyond);
        tag = beyond != 0 ? '\0' : RESULT_INT;
        bytes = (const char *)&integer;
        size = sizeof integer;
    } else if (PyFloat_CheckExact(object)) {
        number = PyFloat_AS_DOUBLE(object);
        tag = RESULT_FLOAT;
        bytes = (const char *)&number;
        size = sizeof number;
    } else if (PyBytes_CheckExact(object)) {
        tag = RESULT_BYTES;
        bytes = PyBytes_AS_STRING(object);
        size = PyBytes_GET_SIZE(object);
    } else if (PyUnicode_CheckExact(object) && PyUnicode_GET_LENGTH(object) <= RESULT_PLAIN_MAX) {
        bytes = PyUnicode_AsUTF8AndSize(object, &size);
        tag = bytes == NULL ? '\0' : RESULT_TEXT;
        if (bytes == NULL) {
            PyErr_Clear(); /* half a surrogate pair: pickle knows what to do */
        }
    }
    if (tag == '\0' || size > RESULT_PLAIN_MAX) {
        return '\0';
    }
    if (size > 0) {
        memcpy(at, bytes, (size_t)size);
    }
    *ret_size = (size_t)size;
    return tag;
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
