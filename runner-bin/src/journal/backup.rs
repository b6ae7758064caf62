//! `vmpool journal backup`: a copy of a journal in a file.

use anyhow::anyhow;
use vmpool_store::BackupError;

use super::args::BackupArgs;
use super::source::Source;
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::say;

pub(super) async fn backup(args: &BackupArgs) -> Result<Exit, Stopped> {
    let (source, name) = Source::open(&args.at).await?;
    let Source::File(journal) = source else {
        let error = anyhow!(
            "{name} is a database: back it up with its own tools, like \
             `pg_dump --format=custom --file=FILE URL`"
        );
        return Err(error).or_exit(Exit::BadInput);
    };
    let bytes = match journal.back_up(&args.file).await {
        Ok(bytes) => bytes,
        Err(error @ BackupError::Exists { .. }) => return Err(error).or_exit(Exit::BadInput),
        Err(error) => return Err(error).or_exit(Exit::Failed),
    };
    say(format_args!(
        "{name} is copied to {}, {bytes} bytes\n",
        args.file.display()
    ))?;
    Ok(Exit::Success)
}
