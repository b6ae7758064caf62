//! A supervisor's life: it starts the agent, watches it, and ends the machine.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{chdir, dup2_stdin, setsid};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};
use vmpool_core::MachineId;

use super::census::{descendants, kill_machine};
use super::console::Console;
use super::ending::{AgentExit, Ending, Event, OnAgentDeath};
use super::folder::Folder;
use super::handover::{agent_command, receive, send};
use super::purge::purge;
use super::request::Request;
use crate::holder::close_inherited;
use crate::process::{self, ProcessId};

/// How long a try to end all processes lasts until the next; there is always a next.
const TRY: Duration = Duration::from_secs(10);

/// Is the supervisor of `machine` to the end of both.
pub(super) fn supervise(machine: MachineId) -> io::Result<ExitCode> {
    let signals = take_signals()?;
    let Some((message, links)) = receive(io::stdin())? else {
        // The provider gave up, or died: there is no machine.
        return Ok(ExitCode::SUCCESS);
    };
    let mut links = links.into_iter();
    let (Some(listener), Some(lock)) = (links.next(), links.next()) else {
        return Err(io::Error::other("descriptors are missing"));
    };
    become_supervisor()?;
    let folder = Folder::at(&message.folder);
    let (output, input) = io::pipe()?;
    // Its own words and its agent's go to the same file.
    let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let mut watch = Watch {
        console: Console::new(output, file)?,
        machine,
        folder,
        signals,
        lifeline: links.next(),
        agent: None,
    };
    let started = watch.start(&message.request, &listener, input);
    // The agent has the secret now, and it alone.
    drop(message);
    let ending = started.and_then(|()| watch.until_an_event()).map_or_else(
        |error| Ending::Failed {
            reason: error.to_string(),
        },
        |event| event.ending(OnAgentDeath::default()),
    );
    // A restarted agent would listen there again; from here on none will.
    drop(listener);
    watch.end(&ending)?;
    drop(lock);
    Ok(ExitCode::SUCCESS)
}

/// From here on a signal is read, it does not strike.
fn take_signals() -> io::Result<SignalFd> {
    let mut taken = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGCHLD,
    ] {
        taken.add(signal);
    }
    taken.thread_block()?;
    close_inherited()?;
    Ok(SignalFd::with_flags(
        &taken,
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?)
}

fn become_supervisor() -> io::Result<()> {
    dup2_stdin(File::open("/dev/null")?)?;
    setsid()?;
    prctl::set_child_subreaper(true)?;
    // What `ps` and `top` show.
    prctl::set_name(c"vmpool-machine")?;
    // It must not keep the provider's directory from being unmounted.
    Ok(chdir("/")?)
}

struct Watch {
    machine: MachineId,
    folder: Folder,
    console: Console,
    signals: SignalFd,
    lifeline: Option<OwnedFd>,
    /// The agent's pid, until it has ended.
    agent: Option<i32>,
}

/// What reaping found.
struct Reaped {
    agent: Option<AgentExit>,
    none_left: bool,
}

impl Watch {
    fn start(
        &mut self,
        request: &Request,
        listener: &OwnedFd,
        output: io::PipeWriter,
    ) -> io::Result<()> {
        let state = self.folder.create_state_dir()?;
        let (mut command, socket) = agent_command(&self.machine)?;
        command
            .current_dir(state)
            .stdout(output.try_clone()?)
            .stderr(output);
        self.agent = Some(spawn(command)?);
        send(&socket, &self.folder, request, &[listener.as_fd()])
    }

    fn until_an_event(&mut self) -> io::Result<Event> {
        loop {
            let [signalled, closed, said] = self.wait()?;
            if said {
                self.console.take();
            }
            if signalled && let Some(event) = self.take_signal()? {
                return Ok(event);
            }
            if closed {
                return Ok(Event::LifelineClosed);
            }
        }
    }

    /// Waits for a signal, the lifeline's end, or the agent's output.
    fn wait(&self) -> io::Result<[bool; 3]> {
        let sources: [Option<BorrowedFd<'_>>; 3] = [
            Some(self.signals.as_fd()),
            self.lifeline.as_ref().map(AsFd::as_fd),
            self.console.output(),
        ];
        let mut polled: Vec<_> = sources
            .iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = polled.iter().map(|polled| !polled.revents().is_empty());
        Ok(sources.map(|source| source.is_some() && ready.next().unwrap_or_default()))
    }

    fn take_signal(&mut self) -> io::Result<Option<Event>> {
        while let Some(signal) = self.signals.read_signal()? {
            if i32::try_from(signal.ssi_signo) != Ok(Signal::SIGCHLD as i32) {
                return Ok(Some(Event::Asked {
                    signal: signal.ssi_signo,
                    by: signal.ssi_pid,
                }));
            }
        }
        Ok(self.reap()?.agent.map(Event::AgentEnded))
    }

    /// Takes the exit status of every process that has ended: the agent, and
    /// the machine's processes that lost their parent.
    fn reap(&mut self) -> io::Result<Reaped> {
        let mut reaped = Reaped {
            agent: None,
            none_left: false,
        };
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if self.agent == Some(pid.as_raw_pid()) => {
                    reaped.agent = AgentExit::of(status);
                    self.agent = None;
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return Ok(reaped),
                Err(Errno::CHILD) => {
                    return Ok(Reaped {
                        none_left: true,
                        ..reaped
                    });
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Ends the machine: its processes, then its disk.
    fn end(mut self, ending: &Ending) -> io::Result<()> {
        if let Err(error) = self.folder.write_ending(ending) {
            self.console
                .say(&format!("write down that {ending}: {error}"));
        }
        self.end_descendants()?;
        // They are no descendants, and marked all the same: nothing does that by accident.
        let strays = kill_machine(&self.machine, Instant::now() + TRY)?;
        if !strays.is_empty() {
            self.console
                .say(&format!("processes {strays:?} can't be ended"));
        }
        while self.console.take() {}
        let removed = match ending {
            // Nobody is left who would ask what became of it.
            Ending::LifelineClosed => self.folder.remove(),
            _ => self.folder.remove_state(),
        };
        if let Err(error) = removed {
            self.console
                .say(&format!("remove the machine's disk: {error}"));
        }
        Ok(())
    }

    /// Returns when no process of the machine is left, however long that takes:
    /// as long as one is there, so is the machine.
    fn end_descendants(&mut self) -> io::Result<()> {
        let me = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        let mut complained = false;
        loop {
            let find = || {
                self.reap()?;
                let processes = process::all()?;
                let mine = descendants(&processes, [me]).filter(|stat| stat.pid != me);
                Ok(mine
                    .map(|stat| ProcessId {
                        pid: stat.pid,
                        start: stat.start,
                    })
                    .collect())
            };
            let left = purge(find, Instant::now() + TRY)?;
            if self.reap()?.none_left {
                return Ok(());
            }
            if !left.is_empty() && !complained {
                self.console
                    .say(&format!("processes {left:?} can't be ended, trying on"));
                complained = true;
            }
        }
    }
}

/// Starts it; it is reaped like any other process here.
fn spawn(mut command: Command) -> io::Result<i32> {
    i32::try_from(command.spawn()?.id()).map_err(io::Error::other)
}
