//! The step's process: forked behind a gate, and executed when the gate opens.

use std::convert::Infallible;
use std::ffi::{CString, NulError};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, execve, fork, pipe2, setpgid,
};

use super::messages::Order;
use super::nursery::default_action;
use crate::user::Account;

/// Where programs are looked for when the step has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Room in the step's pipe, so that a burst of output does not stop it.
const PIPE_BYTES: i32 = 256 * 1024;

/// The step's process, waiting at the gate. While that is closed, dropping this
/// lets the process end without a trace.
pub(super) struct AtGate {
    pub(super) pid: Pid,
    /// Its standard output and error, in one.
    pub(super) output: File,
    /// Tells why the program could not be executed; closed when it was.
    pub(super) failure: File,
    gate: File,
}

impl AtGate {
    /// Forks the step's process, in a process group of its own.
    pub(super) fn fork(order: &Order) -> io::Result<Self> {
        let program = Program::of(order)?;
        let (output, output_in) = pipe2(OFlag::O_CLOEXEC)?;
        let (failure, failure_in) = pipe2(OFlag::O_CLOEXEC)?;
        let (gate_out, gate) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        fcntl(&failure, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // A smaller pipe works too; some hosts limit what a user may have.
        let _ = fcntl(&output, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        let holder = Pid::this();
        let null = File::options().read(true).open("/dev/null")?;

        #[expect(unsafe_code, reason = "std can't fork without executing at once")]
        // SAFETY: the holder has a single thread, so the child may do all that the parent may.
        match unsafe { fork() }? {
            ForkResult::Child => {
                drop(gate);
                let opened = File::from(gate_out).read(&mut [0]).unwrap_or(0) == 1;
                if opened {
                    let Err(reason) = program.execute(order, holder, &null, &output_in);
                    let _ = File::from(failure_in).write_all(reason.as_bytes());
                }
                std::process::exit(127);
            }
            ForkResult::Parent { child } => {
                setpgid(child, child)?;
                Ok(Self {
                    pid: child,
                    output: output.into(),
                    failure: failure.into(),
                    gate: gate.into(),
                })
            }
        }
    }

    /// Opens the gate: the program is executed.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.gate.write_all(b"!")
    }
}

/// What `execve` takes, made before the fork.
struct Program {
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    fn of(order: &Order) -> Result<Self, NulError> {
        let name = order.command.first().map_or("", String::as_str);
        let candidates = if name.contains('/') {
            vec![CString::new(name)?]
        } else {
            let path = order.env.iter().find(|(name, _)| name == "PATH");
            path.map_or(DEFAULT_PATH, |(_, path)| path)
                .split(':')
                .map(|dir| CString::new(Path::new(dir).join(name).as_os_str().as_bytes()))
                .collect::<Result<_, _>>()?
        };
        let arguments = order.command.iter().map(|arg| CString::new(arg.as_str()));
        let variables = order
            .env
            .iter()
            .map(|(name, value)| CString::new(format!("{name}={value}")));
        Ok(Self {
            candidates,
            arguments: arguments.collect::<Result<_, _>>()?,
            environment: variables.collect::<Result<_, _>>()?,
        })
    }

    /// Becomes the step; returns only the reason why it could not.
    fn execute(
        &self,
        order: &Order,
        holder: Pid,
        null: &File,
        output: &OwnedFd,
    ) -> Result<Infallible, String> {
        reset_signals().map_err(|errno| format!("reset signals: {}", errno.desc()))?;
        umask(Mode::from_bits_truncate(0o022));
        dup2_stdin(null.as_fd())
            .and_then(|()| dup2_stdout(output))
            .and_then(|()| dup2_stderr(output))
            .map_err(|errno| format!("connect the output: {}", errno.desc()))?;
        if let Some(user) = &order.user {
            Account::find(user)
                .and_then(Account::become_it)
                .map_err(|reason| format!("user {user}: {reason}"))?;
        }
        let workdir = &order.workdir;
        nix::unistd::chdir(workdir).map_err(|errno| {
            format!("working directory {}: {}", workdir.display(), errno.desc())
        })?;
        // If the holder is killed its step goes too; changing the user resets this, so it is last.
        prctl::set_pdeathsig(Signal::SIGKILL)
            .map_err(|errno| format!("follow the holder: {}", errno.desc()))?;
        if Pid::parent() != holder {
            return Err("its holder is gone".into());
        }
        let mut why = Errno::ENOENT;
        for candidate in &self.candidates {
            let Err(errno) = execve(candidate, &self.arguments, &self.environment);
            match errno {
                Errno::ENOENT | Errno::ENOTDIR => {}
                // A file that may not be executed; a later directory may have another.
                Errno::EACCES => why = errno,
                _ => {
                    why = errno;
                    break;
                }
            }
        }
        Err(format!(
            "{}: {}",
            order.command.first().map_or("", String::as_str),
            why.desc()
        ))
    }
}

/// Gives the step the signals of a fresh process, whatever its ancestors ignored.
fn reset_signals() -> nix::Result<()> {
    for signal in Signal::iterator().filter(|s| !matches!(s, Signal::SIGKILL | Signal::SIGSTOP)) {
        default_action(signal)?;
    }
    SigSet::empty().thread_set_mask()
}
