//! What every journal must keep: one suite for memory, SQLite and PostgreSQL.
