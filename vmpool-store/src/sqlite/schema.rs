//! Opening the file: private, write-ahead logged, synced at each commit, and
//! of a schema that this release knows.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refinery::Runner;
use rusqlite::{Connection, ErrorCode, OpenFlags};

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// How long a statement waits for another process's lock.
const BUSY: Duration = Duration::from_secs(2);
/// The writer copies the log into the database itself; should it ever fail to,
/// SQLite does at this many pages.
const CHECKPOINT_PAGES: u32 = 10_000;
/// What the writer keeps of the file in memory, in kibibytes, as far as it was
/// used: pages that are not there are read from the file while a claim waits.
const CACHE_KIB: i32 = 16 << 10;
/// The log's file is cut to this when it was copied.
const LOG_BYTES: u32 = 64 << 20;
/// More statements than there are.
const STATEMENTS: usize = 64;

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file can't be made or made private.
    #[error("make the journal {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// SQLite can't use it.
    #[error("open the journal {}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// It was made by a newer release.
    #[error(
        "the journal {} has schema {found}, this release knows schemas up to {known}: \
         run the release that wrote it, or a newer one", path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema's version.
        found: i32,
        /// The newest that this release knows.
        known: i32,
    },
    /// It is to be read, but needs a change first.
    #[error(
        "the journal {} has schema {found}, this release reads schema {known}: \
         start the runner of this release once, it brings the journal up to date", path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// The schema's version; 0: there is none.
        found: i32,
        /// The one that this release reads.
        known: i32,
    },
    /// The schema could not be brought up to date.
    #[error("bring the journal {} to schema {known}", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// The newest schema that this release knows.
        known: i32,
        /// What went wrong.
        #[source]
        source: Box<refinery::Error>,
    },
}

impl OpenError {
    /// The file is not as SQLite wrote it.
    pub fn is_damage(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        matches!(
            source.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
    }
}

/// The connection that writes. The file is made where there is none.
pub(super) fn open(path: &Path, size_limit: Option<u64>) -> Result<Connection, OpenError> {
    let file = |source| OpenError::File {
        path: path.to_owned(),
        source,
    };
    make_private(path).map_err(file)?;
    let mut conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .and_then(|conn| set_up(conn, size_limit))
    .map_err(database(path))?;
    let runner = runner();
    let (found, known) = versions(&runner, &mut conn, path)?;
    if found > known {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    runner.run(&mut conn).map_err(migrate(path, known))?;
    Ok(conn)
}

/// A connection that reads a journal of which the schema is right.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    let mut conn = connect_to_read(path).map_err(database(path))?;
    let runner = runner();
    let (found, known) = versions(&runner, &mut conn, path)?;
    let path = path.to_owned();
    match found.cmp(&known) {
        std::cmp::Ordering::Less => Err(OpenError::Older { path, found, known }),
        std::cmp::Ordering::Equal => Ok(conn),
        std::cmp::Ordering::Greater => Err(OpenError::Newer { path, found, known }),
    }
}

/// One more connection that reads.
pub(super) fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

fn set_up(conn: Connection, size_limit: Option<u64>) -> rusqlite::Result<Connection> {
    conn.busy_timeout(BUSY)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))?;
    conn.pragma_update(None, "synchronous", "full")?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
    if let Some(bytes) = size_limit {
        let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page.max(1);
        conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    Ok(conn)
}

/// Migrations are made in one transaction with the note that they were: a
/// process that is killed meanwhile has changed nothing.
fn runner() -> Runner {
    migrations::migrations::runner().set_grouped(true)
}

/// The schema's version, 0 where there is none, and the newest that is known.
fn versions(runner: &Runner, conn: &mut Connection, path: &Path) -> Result<(i32, i32), OpenError> {
    let known = runner
        .get_migrations()
        .iter()
        .map(refinery::Migration::version);
    let known = known.max().unwrap_or(0);
    let has_history: bool = conn
        .query_row(
            "SELECT count(*) > 0 FROM sqlite_schema WHERE name = 'refinery_schema_history'",
            [],
            |row| row.get(0),
        )
        .map_err(database(path))?;
    if !has_history {
        return Ok((0, known));
    }
    let found: Option<i32> = conn
        .query_row(
            "SELECT max(version) FROM refinery_schema_history",
            [],
            |row| row.get(0),
        )
        .map_err(database(path))?;
    Ok((found.unwrap_or(0), known))
}

/// SQLite gives its log and its index the file's own permissions.
fn make_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    restrict(&file)
}

#[cfg(unix)]
fn restrict(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn restrict(_: &File) -> io::Result<()> {
    Ok(())
}

fn database(path: &Path) -> impl Fn(rusqlite::Error) -> OpenError {
    move |source| OpenError::Database {
        path: path.to_owned(),
        source,
    }
}

fn migrate(path: &Path, known: i32) -> impl Fn(refinery::Error) -> OpenError {
    move |source| OpenError::Migrate {
        path: path.to_owned(),
        known,
        source: Box::new(source),
    }
}
