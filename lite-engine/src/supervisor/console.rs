//! What a machine says on its standard error: its end is kept in the folder, so
//! that a machine that failed can tell why.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

/// Longer than this the file never is, but for what the supervisor itself says.
const MOST: u64 = 64 * 1024;

/// How much of its end stays when it is cut.
const KEPT: usize = 16 * 1024;

/// Most that is read at a time, so that a chatty agent does not keep its
/// supervisor from its other work.
const CHUNK: usize = 8 * 1024;

/// The agent's output on its way to the file.
pub(super) struct Console {
    /// Closed once the agent, and all that inherited it, are gone.
    output: Option<io::PipeReader>,
    file: File,
}

impl Console {
    pub(super) fn new(output: io::PipeReader, file: File) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&output, true)?;
        Ok(Self {
            output: Some(output),
            file,
        })
    }

    /// What becomes readable when the agent says something.
    pub(super) fn output(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Writes down what the agent has said; true if there may be more.
    pub(super) fn take(&mut self) -> bool {
        let Some(output) = &mut self.output else {
            return false;
        };
        let mut chunk = [0; CHUNK];
        match output.read(&mut chunk) {
            Ok(0) => self.output = None,
            Ok(length) => {
                // A full disk costs the machine its last words, not its life.
                let _ = self.keep(&chunk[..length]);
                return true;
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.output = None,
        }
        false
    }

    /// Adds a line of the supervisor's.
    pub(super) fn say(&mut self, line: &str) {
        let _ = self.keep(format!("supervisor: {line}\n").as_bytes());
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length + bytes.len() as u64 > MOST {
            let mut end = vec![0; KEPT];
            let from = length.saturating_sub(KEPT as u64);
            let read = self.file.read_at(&mut end, from)?;
            // The file is only ever written at its end, by its one reader.
            self.file.set_len(0)?;
            self.file.write_all(&end[..read])?;
        }
        self.file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::Folder;
    use super::*;

    #[test]
    fn the_end_of_a_long_output_is_kept_and_the_file_stays_small() {
        let dir = tempfile::tempdir().expect("a directory");
        let folder = Folder::at(dir.path());
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let mut console =
            Console::new(reader, folder.open_console().expect("a file")).expect("a console");
        for number in 0..20_000 {
            writeln!(writer, "line {number}").expect("written");
            if number % 100 == 0 {
                while console.take() {}
            }
        }
        drop(writer);
        while console.take() {}
        assert!(console.output().is_none());
        let end = folder.console_end(4096).expect("read");
        assert!(end.ends_with("line 19998\nline 19999\n"));
        assert!(end.starts_with("line "));
        let length = folder
            .open_console()
            .and_then(|file| file.metadata())
            .expect("a file")
            .len();
        assert!(length <= MOST, "{length}");
    }
}
