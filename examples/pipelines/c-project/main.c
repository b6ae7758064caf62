#include "evaluate.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	long result;

	if (argc != 2) {
		fprintf(stderr, "usage: %s EXPRESSION\n", argv[0]);
		return 2;
	}
	if (evaluate(argv[1], &result) != 0) {
		fprintf(stderr, "%s: not an expression: %s\n", argv[0], argv[1]);
		return 1;
	}
	printf("%ld\n", result);
	return 0;
}
