/* Children that execute the program again. Layer: process. */
#include "process/process.h"

int kin_child_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return 0;
}
