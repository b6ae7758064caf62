//! A supervisor's life: it starts the agent, and again where it died, watches
//! it, and ends the machine.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{chdir, dup2_stdin, setsid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};
use vmpool_core::MachineId;

use super::census::{descendants, kill_machine};
use super::console::Console;
use super::ending::{AgentExit, Deaths, Ending, Event, OnAgentDeath, Reaction};
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
    let policy = OnAgentDeath::of(&message.request.bootstrap.clocks);
    let birth = Birth {
        request: message.request,
        listener,
        output: input,
    };
    let ending = watch
        .until_it_ends(&birth, policy)
        .unwrap_or_else(|error| Ending::Failed {
            reason: error.to_string(),
        });
    // From here on nobody listens there.
    drop(birth);
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
    /// The agent, until it has ended.
    agent: Option<Child>,
}

/// What every agent of the machine is started with. Held in memory only, and
/// for no longer than an agent may be started: the enrolment secret is in it (P11).
struct Birth {
    request: Request,
    /// Open all the time: who dials while there is no agent waits for the next.
    listener: OwnedFd,
    output: io::PipeWriter,
}

/// The agent's process.
#[derive(Clone, Copy)]
struct Child {
    pid: i32,
    since: Instant,
}

/// What reaping found.
struct Reaped {
    /// How the agent ended, and how long it had lived.
    agent: Option<(AgentExit, Duration)>,
    none_left: bool,
}

impl Watch {
    /// Has an agent run for as long as the machine is to live; says why it ends.
    fn until_it_ends(&mut self, birth: &Birth, policy: OnAgentDeath) -> io::Result<Ending> {
        let mut deaths = Deaths::new(policy);
        self.folder.create_state_dir()?;
        loop {
            let event = match self.start(birth) {
                Ok(()) => self.until_an_event()?,
                Err(error) => Event::NotStarted {
                    reason: format!("start the agent: {error}"),
                },
            };
            let told = event.to_string();
            let pause = match deaths.react(event) {
                Reaction::End(ending) => return Ok(ending),
                Reaction::RestartAfter(pause) => pause,
            };
            self.console
                .say(&format!("{told}; it is started again in {pause:?}"));
            if let Some(event) = self.pause(pause)?
                && let Reaction::End(ending) = deaths.react(event)
            {
                return Ok(ending);
            }
        }
    }

    fn start(&mut self, birth: &Birth) -> io::Result<()> {
        let (mut command, socket) = agent_command(&self.machine)?;
        command
            .current_dir(self.folder.state_dir())
            .stdout(birth.output.try_clone()?)
            .stderr(birth.output.try_clone()?);
        self.agent = Some(spawn(command)?);
        let sent = send(
            &socket,
            &self.folder,
            &birth.request,
            &[birth.listener.as_fd()],
        );
        if let Err(error) = sent {
            // It has ended, or does so now: without a message it is no agent.
            self.console
                .say(&format!("tell the agent what it is: {error}"));
        }
        Ok(())
    }

    fn until_an_event(&mut self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.look(None)? {
                return Ok(event);
            }
        }
    }

    /// Waits for so long; what happens meanwhile ends it.
    fn pause(&mut self, pause: Duration) -> io::Result<Option<Event>> {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            if let Some(event) = self.look(Some(left))? {
                return Ok(Some(event));
            }
        }
    }

    /// Waits until there is something to see, at most for so long.
    fn look(&mut self, most: Option<Duration>) -> io::Result<Option<Event>> {
        let [signalled, closed, said] = self.wait(most)?;
        if said {
            self.console.take();
        }
        if signalled && let Some(event) = self.take_signal()? {
            return Ok(Some(event));
        }
        Ok(closed.then_some(Event::LifelineClosed))
    }

    /// Waits for a signal, the lifeline's end, or the agent's output; at most
    /// for so long.
    fn wait(&self, most: Option<Duration>) -> io::Result<[bool; 3]> {
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
        // A time too long for the system's clock is none.
        let most = most.and_then(|most| Timespec::try_from(most).ok());
        match poll(&mut polled, most.as_ref()) {
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
        let ended = self.reap()?.agent;
        Ok(ended.map(|(exit, lived)| Event::AgentEnded { exit, lived }))
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
                Ok(Some((pid, status))) => {
                    let pid = pid.as_raw_pid();
                    if let Some(agent) = self.agent.take_if(|agent| agent.pid == pid) {
                        let lived = agent.since.elapsed();
                        reaped.agent = AgentExit::of(status).map(|exit| (exit, lived));
                    }
                }
                Err(Errno::INTR) => {}
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
fn spawn(mut command: Command) -> io::Result<Child> {
    let pid = i32::try_from(command.spawn()?.id()).map_err(io::Error::other)?;
    let since = Instant::now();
    Ok(Child { pid, since })
}
