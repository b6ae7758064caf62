#include "evaluate.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define DEPTH 64

static int apply(char operator, long a, long b, long *result)
{
	switch (operator) {
	case '+':
		return __builtin_add_overflow(a, b, result) ? -1 : 0;
	case '-':
		return __builtin_sub_overflow(a, b, result) ? -1 : 0;
	case '*':
		return __builtin_mul_overflow(a, b, result) ? -1 : 0;
	default:
		return -1;
	}
}

int evaluate(const char *expression, long *result)
{
	long stack[DEPTH];
	size_t depth = 0;

	while (*expression != '\0') {
		char *end;

		if (*expression == ' ') {
			expression++;
			continue;
		}
		errno = 0;
		long number = strtol(expression, &end, 10);
		if (end != expression) {
			if (errno != 0 || depth == DEPTH)
				return -1;
			stack[depth++] = number;
			expression = end;
			continue;
		}
		if (depth < 2 || apply(*expression, stack[depth - 2], stack[depth - 1], &number) != 0)
			return -1;
		stack[depth - 2] = number;
		depth--;
		expression++;
	}
	if (depth != 1)
		return -1;
	*result = stack[0];
	return 0;
}
