//! The provider: a pool's calls, carried out on threads that may block.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io::{self, ErrorKind as IoKind, PipeReader, PipeWriter};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lite_engine::supervisor::{Folder, Program, THIS_PROGRAM};
use parking_lot::Mutex;
use tokio::process::Child;
use tokio::task::spawn_blocking;
use vmpool_core::agent::{Bootstrap, Clocks};
use vmpool_core::{
    Capabilities, ErrorKind, LaunchOrder, LaunchOutcome, Listing, MachineId, OrderDraft, Owner,
    Provider, ProviderError, SecretBytes, Terminating,
};

use crate::error::{LocalError, failed};
use crate::hash::hash;
use crate::root::Root;
use crate::{launch, listing, terminate, was_asked};

/// Most machines an order may ask for: they are started one after the other.
const MAX_BATCH: u32 = 16;

/// Which program is a machine's supervisor and agent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentCommand {
    /// This one: its `main` begins with
    /// [`run_agent_if_asked`](crate::run_agent_if_asked).
    ThisProgram,
    /// The one at this path: `lite-engine`, or any whose `main` begins so.
    Path(PathBuf),
}

/// Machines that are processes of this host. They share it with everybody
/// else: nothing is isolated.
///
/// Called within a tokio runtime that has its I/O enabled. Dropping the provider
/// ends its attached machines and leaves the others alone.
pub struct LocalProvider {
    host: Arc<Host>,
    /// Tells agents of one program from those of another.
    spec: Arc<str>,
    clocks: Option<Clocks>,
    agent: Option<Box<AgentOf>>,
}

/// Describes the program that is the agent of a machine which is born so.
pub(crate) type AgentOf =
    dyn Fn(&Bootstrap) -> Result<Program, Box<dyn Error + Send + Sync>> + Send + Sync;

impl fmt::Debug for LocalProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalProvider")
            .field("host", &self.host)
            .field("clocks", &self.clocks)
            .finish_non_exhaustive()
    }
}

/// What the calls share.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) root: Root,
    pub(crate) program: PathBuf,
    /// What attached machines watch; nobody ever writes to it.
    pub(crate) lifeline: PipeReader,
    /// Closes when the provider is dropped, or the kernel does it. No child inherits it.
    _held: PipeWriter,
    /// Supervisors that were started here and not yet reaped. The runtime
    /// reaps those that outlive the provider.
    children: Mutex<Vec<Child>>,
}

impl LocalProvider {
    /// A provider whose machines are where all of this user's are:
    /// `/tmp/vmpool-<uid>`, with their disks.
    ///
    /// # Errors
    /// The agent can't be run, or that directory is not this user's alone.
    pub fn new(agent: AgentCommand) -> Result<Self, LocalError> {
        Self::with_root(agent, &Root::usual())
    }

    /// A provider whose machines, and their disks, are in `root`. It is made if
    /// it does not exist. Only providers of the same root know them by name.
    ///
    /// # Errors
    /// The agent can't be run, or `root` is not this user's alone.
    pub fn with_root(agent: AgentCommand, root: &Path) -> Result<Self, LocalError> {
        let program = match agent {
            AgentCommand::ThisProgram if !was_asked() => return Err(LocalError::NotAsked),
            AgentCommand::ThisProgram => PathBuf::from(THIS_PROGRAM),
            // Absolute, because it is started from whatever directory is current then.
            AgentCommand::Path(path) => {
                fs::canonicalize(&path).map_err(|source| LocalError::Program {
                    program: path,
                    source,
                })?
            }
        };
        let spec = fingerprint(&program).map_err(|source| LocalError::Program {
            program: program.clone(),
            source,
        })?;
        let (lifeline, held) = io::pipe().map_err(LocalError::Lifeline)?;
        Ok(Self {
            host: Arc::new(Host {
                root: Root::open(root)?,
                program,
                lifeline,
                _held: held,
                children: Mutex::default(),
            }),
            spec,
            clocks: None,
            agent: None,
        })
    }

    /// The agents of its machines are another program, one that speaks the
    /// incumbent's protocol, as `agent` says for each order; `spec` tells that
    /// program from others. Each order is for one machine then, because what
    /// `agent` gives is one machine's.
    ///
    /// Such an agent has no dead-man's clocks.
    #[must_use]
    pub fn with_program(
        mut self,
        spec: &str,
        agent: impl Fn(&Bootstrap) -> Result<Program, Box<dyn Error + Send + Sync>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.agent = Some(Box::new(agent));
        self.also_of(spec)
    }

    /// The disk of a machine of the provider with this root, or of one without:
    /// the directory in which its agent is started, and which goes with it.
    pub fn disk(root: Option<&Path>, machine: &MachineId) -> PathBuf {
        let root = root.map_or_else(Root::usual, Path::to_owned);
        Folder::at(root.join(machine.as_str())).state_dir()
    }

    /// Its machines are born with these dead-man's clocks, whatever the
    /// deployment's are.
    #[must_use]
    pub fn with_clocks(mut self, clocks: Clocks) -> Self {
        self.clocks = Some(clocks);
        self.also_of(&format!("{clocks:?}"))
    }

    /// Its machines are others than those of a provider without this.
    fn also_of(mut self, what: &str) -> Self {
        let both = hash(&[self.spec.as_bytes(), what.as_bytes()]);
        self.spec = format!("local-{both:016x}").into();
        self
    }
}

/// Tells one agent's program from another, and from itself after an upgrade.
fn fingerprint(program: &Path) -> io::Result<Arc<str>> {
    let found = fs::metadata(program)?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Err(io::Error::new(
            IoKind::PermissionDenied,
            "not an executable file",
        ));
    }
    let identity = format!(
        "{} {} {} {} {}.{}",
        env!("CARGO_PKG_VERSION"),
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec()
    );
    Ok(format!("local-{:016x}", hash(&[identity.as_bytes()])).into())
}

impl Host {
    /// Takes a supervisor's process, to be reaped.
    pub(crate) fn keep(&self, child: Child) {
        self.children.lock().push(child);
    }

    /// Reaps those that have ended.
    pub(crate) fn reap(&self) {
        self.children
            .lock()
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// The failure to start the agent's program.
    pub(crate) fn program_failed(&self, id: &MachineId, error: io::Error) -> ProviderError {
        let attempted = format!("launch machine {id} with {}", self.program.display());
        match error.kind() {
            // It was there when the provider began.
            IoKind::NotFound | IoKind::PermissionDenied => {
                ProviderError::new(ErrorKind::BadSpec, attempted).because(error)
            }
            _ => failed(attempted, error),
        }
    }

    /// Does `work` on a thread that may block, and reaps.
    async fn on_thread<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, ProviderError> {
        let host = Arc::clone(self);
        let done = spawn_blocking(move || {
            let done = work(&host);
            host.reap();
            done
        });
        // It panicked, or the runtime shuts down.
        done.await.map_err(|error| {
            ProviderError::new(ErrorKind::Unknown, "carry out a local provider's call")
                .because(error)
        })
    }
}

#[async_trait]
impl Provider for LocalProvider {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            max_batch: if self.agent.is_some() { 1 } else { MAX_BATCH },
            suspend: false,
            spot: false,
            consistency_window: Duration::ZERO,
            spec: Arc::clone(&self.spec),
            places: Vec::new(),
        }
    }

    fn render(&self, draft: &OrderDraft<'_>) -> Result<SecretBytes, ProviderError> {
        launch::render(draft, self.clocks, self.agent.as_deref())
    }

    /// # Cancel safety
    /// What was begun goes on: all of the order's machines are launched.
    async fn launch(&self, order: &LaunchOrder) -> LaunchOutcome {
        let count = order.count;
        let order = order.clone();
        let launched = self
            .host
            .on_thread(move |host| launch::launch(host, &order))
            .await;
        launched.unwrap_or_else(|error| LaunchOutcome {
            unknown: Some((count, error)),
            ..LaunchOutcome::default()
        })
    }

    async fn list(&self, owner: &Owner) -> Result<Listing, ProviderError> {
        let owner = owner.clone();
        self.host
            .on_thread(move |host| listing::list(&host.root, &owner))
            .await?
    }

    /// Returns when the machines' processes are gone, or after 15 seconds.
    ///
    /// # Cancel safety
    /// What was begun goes on: the machines end.
    async fn terminate(&self, ids: &[MachineId]) -> Result<Terminating, ProviderError> {
        let ids = ids.to_vec();
        self.host
            .on_thread(move |host| terminate::terminate(&host.root, &ids))
            .await?
    }

    async fn diagnose(&self, id: &MachineId) -> Option<String> {
        let id = id.clone();
        self.host
            .on_thread(move |host| listing::diagnose(&host.root, &id))
            .await
            .ok()?
    }
}
