/* Recorded trees for the tests: a text file unpacked into a folder of its own. */
#ifndef TESTS_CPU_TREE_H
#define TESTS_CPU_TREE_H

/* Unpacks tests/cpu/trees/NAME.tree; returns the folder, until tree_remove. Fails the test. */
const char *tree_unpack(const char *name);
void tree_remove(void);

#endif
