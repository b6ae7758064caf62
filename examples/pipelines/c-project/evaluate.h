#ifndef EVALUATE_H
#define EVALUATE_H

/* Evaluates an expression in reverse Polish notation, like "3 4 + 2 *".
 * Returns 0 and sets *result, or -1 where the expression is none. */
int evaluate(const char *expression, long *result);

#endif
