//! What the database said, for a person, and what it means for a write.

use std::error::Error as _;

use tokio_postgres::Error;
use tokio_postgres::error::{Severity, SqlState};

/// Why a database can't be a journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It is no URL of a database. It is not shown: it may hold a password.
    #[error(
        "read the journal's URL: it has the form postgres://USER@HOST:PORT/DATABASE, \
         special characters in a password as %XX"
    )]
    Url,
    /// There is nothing to verify the server's certificate by.
    #[error(
        "connect to {shown} over TLS: no root certificates: {reason}; install the system's, \
         or name a file of them in SSL_CERT_FILE"
    )]
    Roots {
        /// The database.
        shown: String,
        /// Why there are none.
        reason: String,
    },
    /// It can't be reached, or refuses us.
    #[error("use the database {shown}")]
    Database {
        /// The database.
        shown: String,
        /// What was said.
        #[source]
        source: Error,
    },
    /// It does not answer.
    #[error("use the database {shown}: no answer in {seconds} s")]
    Silent {
        /// The database.
        shown: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// It would not keep what a journal must.
    #[error("use the database {shown}: {reason}")]
    Unfit {
        /// The database.
        shown: String,
        /// Why, and what helps.
        reason: String,
    },
    /// It was made by a newer release.
    #[error(
        "the journal {shown} has schema {found}, this release knows schemas up to {known}: \
         run the release that wrote it, or a newer one"
    )]
    Newer {
        /// The database.
        shown: String,
        /// The schema's version.
        found: i32,
        /// The newest that this release knows.
        known: i32,
    },
    /// It is to be read, but needs a change first.
    #[error(
        "the journal {shown} has schema {found}, this release reads schema {known}: \
         start the runner of this release once, it brings the journal up to date"
    )]
    Older {
        /// The database.
        shown: String,
        /// The schema's version; 0: there is none.
        found: i32,
        /// The one that this release reads.
        known: i32,
    },
    /// The schema could not be brought up to date.
    #[error("bring the journal {shown} to schema {known}")]
    Migrate {
        /// The database.
        shown: String,
        /// The newest schema that this release knows.
        known: i32,
        /// What went wrong.
        #[source]
        source: Box<refinery::Error>,
    },
}

/// What an error means for the statement that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing was written; tried again it may be.
    Again,
    /// Nothing was written, for what was to be written.
    Data,
    /// Nothing was written.
    Undone,
    /// It may have been written.
    Doubtful,
}

pub(super) fn meaning(error: &Error) -> Meaning {
    let Some(said) = error.as_db_error() else {
        return Meaning::Doubtful;
    };
    if said.parsed_severity() != Some(Severity::Error) {
        return Meaning::Doubtful;
    }
    let code = said.code();
    let again = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::UNIQUE_VIOLATION,
    ];
    if again.contains(code) {
        return Meaning::Again;
    }
    // Of the data, of a constraint, of a limit of the program.
    match code.code().get(..2) {
        Some("22" | "23" | "54") => Meaning::Data,
        _ => Meaning::Undone,
    }
}

/// What was said, with what a person can do about it.
pub(super) fn told(error: &Error) -> String {
    let Some(said) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        return text;
    };
    let code = said.code();
    let help = if *code == SqlState::DISK_FULL {
        ": free some space on the database's disk, writing then goes on by itself"
    } else if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE {
        ": it took too long; look for what holds a lock or loads the database"
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        ": it is a standby or read-only; name the primary"
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        ": make the journal's user the owner of its database"
    } else {
        ""
    };
    format!("{} ({}){help}", said.message(), code.code())
}
