/* Doing what a dead owner of a monitor had sealed. Layer: sync. Protocol: docs/design/monitor.md. */
#include "sync/monitor.h"

int kin__monitor_redo(struct kin__object *object, struct kin__monitor *monitor, uint64_t size)
{
    kin__a32 *word[2];
    uint32_t value[2];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t offset = kin__a32_load(&monitor->write[i].offset);
        value[i] = kin__a32_load(&monitor->write[i].value);
        if (offset < sizeof *object || offset % sizeof(kin__a32) != 0 ||
            offset > size - sizeof(kin__a32)) {
            return KIN_ECORRUPT;
        }
        word[i] = (kin__a32 *)(void *)((char *)object + offset);
    }
    for (unsigned i = 0; i < 2; i++) {
        kin__a32_store(word[i], value[i]);
    }
    kin__a32_store(&monitor->sealed, 0);
    return 0;
}
