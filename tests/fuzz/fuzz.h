/* What libFuzzer calls, again and again. Aborts where a property does not hold. */
#ifndef VMFERRY_TESTS_FUZZ_H
#define VMFERRY_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
