//! How the program ends: its exit codes, and the error that is printed once.

use std::process::{ExitCode, Termination};

use vmpool_pipeline::Rejected;

use crate::out::complain;

/// The exit codes, the same for every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Success,
    /// A step, or a check, failed.
    Failed,
    /// The input can't be used: an option, a file, a line of one.
    BadInput,
    /// No machine was to be had, or it was lost.
    NoMachine,
    /// No runner was to be reached.
    NoRunner,
    /// Interrupted by a signal.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::NoMachine => 3,
            Self::NoRunner => 4,
            Self::Interrupted => 130,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.code().into()
    }
}

/// A command that could not do its work: why, and with what code the program ends.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// The code.
    pub(crate) exit: Exit,
    /// The reason, with its sources.
    pub(crate) error: anyhow::Error,
}

impl Stopped {
    /// Tells the reason on standard error: the mistakes of a file as they are,
    /// a line each, for editors to find; anything else with its sources.
    pub(crate) fn print(&self) {
        match self.error.downcast_ref::<Rejected>() {
            Some(Rejected { errors, warnings }) => {
                for warning in warnings {
                    complain(format_args!("warning: {warning}"));
                }
                for error in errors {
                    complain(error);
                }
            }
            None => complain(format_args!("vmpool: {:#}", self.error)),
        }
    }
}

/// Says with what exit code an error ends the program.
pub(crate) trait OrExit<T> {
    /// The value, or the error with its exit code.
    fn or_exit(self, exit: Exit) -> Result<T, Stopped>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Result<T, Stopped> {
        self.map_err(|error| Stopped {
            exit,
            error: error.into(),
        })
    }
}
