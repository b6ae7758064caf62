#include "evaluate.h"

#include <stdio.h>

static int failures;

static void gives(const char *expression, long expected)
{
	long result = 0;

	if (evaluate(expression, &result) != 0 || result != expected) {
		printf("FAIL \"%s\": expected %ld, got %ld\n", expression, expected, result);
		failures++;
	}
}

static void is_refused(const char *expression)
{
	long result;

	if (evaluate(expression, &result) == 0) {
		printf("FAIL \"%s\": expected a refusal, got %ld\n", expression, result);
		failures++;
	}
}

int main(void)
{
	gives("7", 7);
	gives("3 4 +", 7);
	gives("3 4 + 2 *", 14);
	gives("10 2 3 * -", 4);
	gives("-3 -4 *", 12);
	is_refused("");
	is_refused("+");
	is_refused("1 2");
	is_refused("1 2 /");
	is_refused("9223372036854775807 1 +");
	is_refused("99999999999999999999");
	printf("%s\n", failures == 0 ? "all passed" : "there are failures");
	return failures != 0;
}
