-- Steps without an outcome: a pool goes on with them, also after their stage's end.
CREATE INDEX steps_open ON steps (stage) WHERE json_extract(row, '$.outcome') IS NULL;
