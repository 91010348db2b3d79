/* What every program of unit tests shares. */
#ifndef VMFERRY_TESTS_UNIT_H
#define VMFERRY_TESTS_UNIT_H

#include <check.h>
#include <stdlib.h>

#include "base/err.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* @text has @part in it, or both are shown. */
#define ck_assert_has(text, part)                                                                  \
	ck_assert_msg(strstr((text), (part)) != NULL, "\"%s\" has no \"%s\"", (text), (part))

/* A result of 0; else the error is shown. */
#define ck_assert_ok(call, err)                                                                    \
	do {                                                                                       \
		(err)->text[0] = '\0';                                                             \
		ck_assert_msg((call) == 0, "%s: %s", #call, (err)->text);                          \
	} while (0)

/* Runs each test in a process of its own. The exit code of the program. */
static inline int unit_run(const char *name, const TTest *const *tests, size_t count)
{
	Suite *suite = suite_create(name);
	SRunner *runner = srunner_create(suite);
	int failed;

	for (size_t i = 0; i < count; i++) {
		TCase *tcase = tcase_create(tests[i]->name);

		tcase_set_timeout(tcase, 300);
		tcase_add_test(tcase, tests[i]);
		suite_add_tcase(suite, tcase);
	}
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
