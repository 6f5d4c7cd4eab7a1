/* Codes to text. Layer: base. */
#include <kinfolk/base.h>

#include <stdio.h>
#include <string.h>

static const struct {
    int code;
    const char *name;
    const char *text;
} errors[] = {
#define X(name, value, text) {value, #name, text},
    KIN_ERRORS(X)
#undef X
};

const char *kin_strerror(int code)
{
    if (code >= 0) {
        return code == 0 ? "success" : "success, with a notice";
    }
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i].code == code) {
            return errors[i].text;
        }
    }
    const char *text = strerrordesc_np(-code);
    if (text != NULL) {
        return text;
    }
    static _Thread_local char unknown[48];
    snprintf(unknown, sizeof unknown, "unknown error %d", code);
    return unknown;
}

const char *kin_err_name(int code)
{
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i].code == code) {
            return errors[i].name;
        }
    }
    const char *name = code < 0 ? strerrorname_np(-code) : NULL;
    return name != NULL ? name : "UNKNOWN";
}

const char *kin_version(void)
{
    return KIN_VERSION;
}
