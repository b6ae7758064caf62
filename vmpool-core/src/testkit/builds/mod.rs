//! What every API must keep of acquire, run and release: one suite of cases,
//! for the library in process and for whatever speaks for it over a wire.
//!
//! A driver implements [`Builds`] and has [`cases`] run against a pool named
//! [`POOL`] of [`LIMIT`] machines, all of them free, that keeps none warm.

pub mod cases;

use async_trait::async_trait;

use crate::step::StepStatus;

/// The pool of all cases.
pub const POOL: &str = "linux";

/// The most machines that it may have.
pub const LIMIT: u32 = 2;

/// An API, as a case speaks to it.
#[async_trait(?Send)]
pub trait Builds {
    /// Asks for a machine; gives its id.
    ///
    /// # Errors
    /// What was answered instead.
    async fn acquire(&self, asked: Acquire) -> Result<String, Refusal>;

    /// Releases a stage.
    ///
    /// # Errors
    /// What was answered instead.
    async fn release(&self, stage: &str) -> Result<(), Refusal>;

    /// Runs a step and reads its output from an offset, both to the end.
    ///
    /// # Errors
    /// What was answered instead.
    async fn run(&self, stage: &str, step: &str, does: Does, from: u64) -> Result<Ended, Refusal>;

    /// As [`Builds::run`], by the step's id alone.
    ///
    /// # Errors
    /// What was answered instead.
    async fn attach(&self, stage: &str, step: &str, from: u64) -> Result<Ended, Refusal>;

    /// Runs a step, and goes away without a word once so many bytes of its
    /// output have come; gives these.
    async fn run_and_leave(&self, stage: &str, step: &str, does: Does, bytes: usize) -> String;

    /// Cancels a step.
    ///
    /// # Errors
    /// What was answered instead.
    async fn cancel(&self, stage: &str, step: &str) -> Result<(), Refusal>;

    /// Waits until the stage is known to wait for a machine.
    async fn waits(&self, stage: &str);
}

/// A request for a machine.
#[derive(Debug, Clone)]
pub struct Acquire {
    /// The stage.
    pub stage: String,
    /// The pool.
    pub pool: String,
    /// The value of a variable of the setup: another one is another setup.
    pub variable: String,
    /// How many seconds it waits at most; none: as the pool says.
    pub wait: Option<u64>,
}

impl Acquire {
    /// The usual request.
    pub fn of(stage: &str) -> Self {
        Self {
            stage: stage.to_owned(),
            pool: POOL.to_owned(),
            variable: "1".to_owned(),
            wait: None,
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    /// Prints `one`, and a second later `two`.
    Print,
    /// Prints `one`, and fails with exit code 3.
    Fail,
    /// Prints `one`, and goes on for an hour.
    Hang,
}

impl Does {
    /// All that there is.
    pub const ALL: [Self; 3] = [Self::Print, Self::Fail, Self::Hang];

    /// The command that does it.
    pub fn command(self) -> Vec<String> {
        let script = match self {
            Self::Print => "echo one; sleep 1; echo two",
            Self::Fail => "echo one; exit 3",
            Self::Hang => "echo one; sleep 3600",
        };
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }
}

/// How a step ended, and what was read of its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub status: StepStatus,
    /// The output from where it was wanted.
    pub output: String,
}

/// Why a call was refused, in words that every API has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The id was used for something else.
    Conflict,
    /// No such pool.
    UnknownPool,
    /// No such stage.
    UnknownStage,
    /// The stage has no such step.
    UnknownStep,
    /// The stage has ended.
    StageOver,
    /// No machine came in time.
    NoMachineInTime,
    /// Anything else: never what a case waits for.
    Other(String),
}
