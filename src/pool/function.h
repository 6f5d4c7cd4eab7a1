/*
 * The functions that have names, as the parent and the workers each list them. Layer: pool.
 * Protocol: docs/design/pool.md, "Functions".
 */
#ifndef KIN_POOL_FUNCTION_H
#define KIN_POOL_FUNCTION_H

/* A list; defined in function.c. */
struct kin__named_function;

void kin__named_functions_free(struct kin__named_function **functions);

#endif
