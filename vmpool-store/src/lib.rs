//! The journal on disk: SQLite for one runner, PostgreSQL for many.
