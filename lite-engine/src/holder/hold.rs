//! Holds one step: moves its output into the log, and sees it to its end.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use vmpool_core::StepStatus;

use super::child::AtGate;
use super::course::{Act, Course};
use super::descendants;
use super::messages::Order;
use super::returned::Returned;
use super::{LOGS, WAKE};
use crate::limits::Group;
use crate::log::LogWriter;
use crate::mask::{Expressions, Masker};
use crate::process;

/// What the agent may ask of a holder, by signals.
const END: Signal = Signal::SIGTERM;
const END_AT_ONCE: Signal = Signal::SIGQUIT;
const TIME_OUT: Signal = Signal::SIGALRM;
const SPACE_CAME_FREE: Signal = Signal::SIGUSR1;

/// Bytes that are read from the step's pipe at once.
const READ_BYTES: usize = 64 * 1024;

/// What is read from the pipe after the end at most, should a process that is
/// not of the step go on writing there.
const REST_MAX: usize = 1024 * 1024;

/// A full disk is tried again this often, and this many times once the step is over.
const FULL_RETRY: Duration = Duration::from_secs(1);
const FULL_TRIES: u32 = 10;

/// Tells the agent, if there is one, to look at the host's directory.
pub(super) struct Waker(File);

impl Waker {
    pub(super) fn open(host: &Path) -> io::Result<Self> {
        // Open for reading too: there need be no agent at the other end.
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits());
        options.open(host.join(WAKE)).map(Self)
    }

    pub(super) fn wake(&mut self) {
        // A full FIFO holds enough to wake anybody.
        let _ = self.0.write(b"!");
    }
}

/// A step at its gate, and what it takes to hold it.
pub(super) struct Hold<'a> {
    step: AtGate,
    course: Course,
    signals: SignalFd,
    order: &'a Order,
    group: &'a Group,
    /// Made at the first output, because that takes as long as a short step.
    masker: Option<Masker>,
    /// Secrets that the step returns.
    returned: Option<Returned>,
    log: LogWriter,
    /// Nobody can write to the step's pipe any more.
    output_closed: bool,
    /// Masked bytes that the log had no space for.
    pending: Vec<u8>,
    buffer: Vec<u8>,
    waker: &'a mut Waker,
    /// Processes that were asked to end.
    asked: HashSet<i32>,
}

impl<'a> Hold<'a> {
    pub(super) fn new(
        order: &'a Order,
        step: AtGate,
        signals: SignalFd,
        group: &'a Group,
        waker: &'a mut Waker,
    ) -> Self {
        Self {
            step,
            course: Course::new(order.timeout, order.grace, order.detached),
            signals,
            order,
            group,
            masker: None,
            returned: order.secrets_file.clone().map(Returned::new),
            log: LogWriter::new(&order.host.join(LOGS), &order.name, order.log_space),
            output_closed: false,
            pending: Vec::new(),
            buffer: vec![0; READ_BYTES],
            waker,
            asked: HashSet::new(),
        }
    }

    /// Lets the step go and holds it until it is over; how it ended, and where its log ends.
    pub(super) fn see_to_end(mut self) -> (StepStatus, u64) {
        let ended = self
            .write_preamble()
            .and_then(|()| self.step.open())
            .and_then(|()| {
                self.course.begin(Instant::now());
                self.until_no_process_is_left()
            })
            .and_then(|()| self.write_the_rest());
        let status = ended.map_or_else(
            |error| {
                // What this leaves running, the agent ends.
                let _ = descendants::kill_all();
                StepStatus::Lost {
                    reason: format!("its holder failed: {error}"),
                }
            },
            |()| self.course.status(),
        );
        (status, self.log.offset())
    }

    fn write_preamble(&mut self) -> io::Result<()> {
        for refused in self.group.refused() {
            self.pending.extend(refused.bytes().chain(*b"\n"));
        }
        let preamble = &self.order.preamble;
        if preamble.is_empty() {
            return self.flush(false);
        }
        // A text of its own: no secret begins in it and ends in the output.
        let mut masker = masker(self.order)?;
        masker.push(preamble.as_bytes(), &mut self.pending);
        masker.finish(&mut self.pending);
        self.flush(false)
    }

    fn until_no_process_is_left(&mut self) -> io::Result<()> {
        loop {
            self.wait_for_news()?;
            while let Some(info) = self.signals.read_signal()? {
                let asked = i32::try_from(info.ssi_signo).map(Signal::try_from);
                match asked {
                    Ok(Ok(END)) => self.course.end(Instant::now(), StepStatus::Cancelled),
                    Ok(Ok(TIME_OUT)) => self.course.end(Instant::now(), StepStatus::TimedOut),
                    Ok(Ok(END_AT_ONCE)) => self.course.end_at_once(Instant::now()),
                    // A child ended, or log space came free: we look at both anyway.
                    _ => {}
                }
            }
            self.move_output()?;
            let reaped = descendants::reap(self.step.pid)?;
            if let Some(status) = reaped.main {
                let status = self.never_executed().unwrap_or(status);
                let status = self.group.judge(status);
                self.course.main_ended(Instant::now(), status);
            }
            if reaped.none_left {
                return Ok(());
            }
            match self.course.tick(Instant::now()) {
                Act::Wait => {}
                Act::Terminate => descendants::terminate(&mut self.asked)?,
                Act::Kill => {
                    self.group.kill();
                    descendants::kill_all()?;
                }
                Act::GiveUp => return self.name_those_left(),
            }
        }
    }

    /// Waits for a signal, for output that can be taken, or for the time to act.
    fn wait_for_news(&mut self) -> io::Result<()> {
        let retry = (!self.pending.is_empty()).then_some(FULL_RETRY);
        let course = self
            .course
            .wake_at()
            .map(|at| at.saturating_duration_since(Instant::now()));
        let wait = retry.into_iter().chain(course).min();
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if retry.is_none() && !self.output_closed {
            fds.push(PollFd::new(self.step.output.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut fds, wait.map_or(PollTimeout::NONE, rounded_up)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes what the pipe has, as far as the log has space for it.
    fn move_output(&mut self) -> io::Result<()> {
        self.flush(false)?;
        if self.pending.is_empty() {
            self.read_output()?;
            self.flush(false)?;
        }
        Ok(())
    }

    /// Reads the pipe once and says how much there was.
    fn read_output(&mut self) -> io::Result<usize> {
        match self.step.output.read(&mut self.buffer) {
            Ok(0) => {
                self.output_closed = true;
                Ok(0)
            }
            Ok(count) => {
                let mut masker = match self.masker.take() {
                    Some(masker) => masker,
                    None => masker(self.order)?,
                };
                let returned = self.returned.as_mut().map(Returned::news);
                if let Some(values) = returned.filter(|values| !values.is_empty()) {
                    masker.add(values).map_err(io::Error::other)?;
                }
                let masker = self.masker.insert(masker);
                masker.push(&self.buffer[..count], &mut self.pending);
                Ok(count)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self, beyond_limit: bool) -> io::Result<()> {
        if !self.pending.is_empty() {
            let written = self.log.append(&self.pending, beyond_limit)?;
            self.pending.drain(..written);
            if written > 0 {
                self.waker.wake();
            }
        }
        Ok(())
    }

    /// The step's processes are gone: whatever they wrote comes into the log.
    fn write_the_rest(&mut self) -> io::Result<()> {
        let mut rest = 0;
        while rest < REST_MAX {
            match self.read_output()? {
                0 => break,
                count => rest += count,
            }
        }
        if let Some(masker) = &mut self.masker {
            masker.finish(&mut self.pending);
        }
        self.pending.extend(self.group.remarks().bytes());
        for _ in 0..FULL_TRIES {
            self.flush(true)?;
            if self.pending.is_empty() {
                return Ok(());
            }
            poll(&mut [], rounded_up(FULL_RETRY))?;
        }
        Err(io::Error::other(format!(
            "the disk is full and the last {} bytes of the log are missing; the step ended as {:?}",
            self.pending.len(),
            self.course.status(),
        )))
    }

    /// Why the step's program was never executed, if it was not.
    fn never_executed(&mut self) -> Option<StepStatus> {
        let mut reason = String::new();
        // The pipe is empty and closed once the program runs.
        let _ = self.step.failure.read_to_string(&mut reason);
        (!reason.is_empty()).then_some(StepStatus::NotStarted { reason })
    }

    /// Some processes did not end even by force: says so where people look.
    fn name_those_left(&mut self) -> io::Result<()> {
        let left = process::children()?;
        self.pending
            .extend(format!("\nprocesses {left:?} of this step do not end\n").bytes());
        Ok(())
    }
}

/// Hides what the step's log must not show.
fn masker(order: &Order) -> io::Result<Masker> {
    let expressions = Expressions::of_lines(&order.expressions).map_err(io::Error::other)?;
    let masker = Masker::styled(order.mask, &order.secrets).map_err(io::Error::other)?;
    Ok(masker.and_expressions(&expressions))
}

/// From here on these signals wait to be read, also those of processes not forked yet.
pub(super) fn watch_signals() -> nix::Result<SignalFd> {
    let signals = [Signal::SIGCHLD, END, END_AT_ONCE, TIME_OUT, SPACE_CAME_FREE];
    let signals: SigSet = signals.into_iter().collect();
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// A poll that wakes a moment early would only go around once more.
fn rounded_up(wait: Duration) -> PollTimeout {
    PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
}
