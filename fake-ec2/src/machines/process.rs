//! Instances as processes of this host.
//!
//! An instance is a program in a process group of its own, with its id in the
//! environment of all that descends from it, so that nothing outlives it; its
//! output is its console, its disk a folder. When the program ends well, the
//! instance has powered itself off; when it fails, the instance stays on with
//! nobody in it, as a machine does whose agent has died.
//!
//! Hibernating stops the program's process group where it is; what has left
//! that group goes on.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use lite_engine::supervisor::{MARK, kill_machine};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Child;
use tokio_util::task::TaskTracker;
use vmpool_core::MachineId;

use super::guest::Guest;
use super::{Birth, Cause, Machines};
use crate::server::Control;

/// How long the processes of an instance may take to end once they are killed.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Runs instances as processes, which are found by the instance's id: two
/// clouds on one host need seeds of their own ([`Config::seed`](crate::Config::seed)).
///
/// They end with [`FakeEc2::stop`], not by dropping this.
///
/// [`FakeEc2::stop`]: crate::FakeEc2::stop
pub struct Processes {
    root: PathBuf,
    guest: Arc<dyn Guest>,
    /// The instances that are on, each with its program while that runs.
    running: Arc<Mutex<BTreeMap<String, Option<Pid>>>>,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processes")
            .field("root", &self.root)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Processes {
    /// Instances with their disks under `root`, which must be there.
    pub fn new(root: impl Into<PathBuf>, guest: Arc<dyn Guest>) -> Self {
        Self {
            root: root.into(),
            guest,
            running: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    fn disk(&self, instance: &str) -> PathBuf {
        self.root.join(instance)
    }

    fn boot(&self, birth: &Birth, control: &Control) -> Result<(), Box<dyn std::error::Error>> {
        // The program starts in it, where a relative path would lead elsewhere.
        let disk = std::path::absolute(self.disk(&birth.instance))?;
        make_disk(&disk)?;
        let mut program = self.guest.program(birth, &disk)?;
        let mut child = program
            .env(MARK, &birth.instance)
            .current_dir(&disk)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            return Err("the program has no pid".into());
        };
        self.running
            .lock()
            .insert(birth.instance.clone(), Some(pid));
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let (instance, control) = (birth.instance.clone(), control.clone());
        self.tasks
            .spawn(print(output, instance.clone(), control.clone()));
        self.tasks
            .spawn(print(errors, instance.clone(), control.clone()));
        let running = Arc::clone(&self.running);
        self.tasks
            .spawn(watch(child, pid, instance, running, control));
        Ok(())
    }

    fn signal(&self, instance: &str, signal: Signal) {
        if let Some(Some(group)) = self.running.lock().get(instance)
            && let Err(error) = kill_process_group(*group, signal)
        {
            tracing::debug!(instance, %error, "signal an instance");
        }
    }

    /// Kills all processes of an instance; those that are gone already, too.
    async fn kill(&self, instance: &str) {
        self.running.lock().remove(instance);
        let Ok(machine) = MachineId::parse(instance) else {
            return;
        };
        let killed = tokio::task::spawn_blocking(move || {
            kill_machine(&machine, Instant::now() + ENDS_WITHIN)
        });
        match killed.await {
            Ok(Ok(left)) if left.is_empty() => {}
            Ok(Ok(left)) => tracing::error!(instance, ?left, "processes outlive their instance"),
            Ok(Err(error)) => tracing::error!(instance, %error, "end an instance's processes"),
            Err(error) => tracing::error!(instance, %error, "end an instance's processes"),
        }
    }
}

#[async_trait]
impl Machines for Processes {
    async fn start(&self, birth: Birth, control: &Control) {
        if birth.cause == Cause::Resumed && self.running.lock().contains_key(&birth.instance) {
            self.signal(&birth.instance, Signal::CONT);
            return;
        }
        if let Err(error) = self.boot(&birth, control) {
            let chain = chain(error.as_ref());
            tracing::warn!(
                instance = birth.instance,
                chain,
                "an instance does not boot"
            );
            let line = format!("fake-ec2: the instance does not boot: {chain}\n");
            control.console(&birth.instance, line.as_bytes());
        }
    }

    async fn stop(&self, instance: &str, hibernate: bool) {
        if hibernate {
            self.signal(instance, Signal::STOP);
        } else {
            self.kill(instance).await;
        }
    }

    async fn terminate(&self, instance: &str) {
        self.kill(instance).await;
        let disk = self.disk(instance);
        match fs::remove_dir_all(&disk) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(disk = %disk.display(), %error, "remove a disk");
            }
            _ => {}
        }
    }

    /// There is no metadata service here: the API alone tells of it.
    async fn notice(&self, _: &str, _: Timestamp) {}

    async fn end(&self) {
        let running: Vec<String> = self.running.lock().keys().cloned().collect();
        for instance in running {
            self.kill(&instance).await;
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn make_disk(disk: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(disk) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Puts what a program says on its instance's console.
async fn print(from: Option<impl AsyncRead + Unpin>, instance: String, control: Control) {
    let Some(mut from) = from else {
        return;
    };
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        control.console(&instance, &buffer[..read]);
    }
}

/// Waits for a program's end; nobody but the program may have ended it.
async fn watch(
    mut child: Child,
    pid: Pid,
    instance: String,
    running: Arc<Mutex<BTreeMap<String, Option<Pid>>>>,
    control: Control,
) {
    let ended = child.wait().await;
    match running.lock().get_mut(&instance) {
        Some(program) if *program == Some(pid) => *program = None,
        _ => return,
    }
    match ended {
        Ok(status) if status.success() => control.powered_off(&instance),
        Ok(status) => {
            tracing::warn!(instance, %status, "an instance's program ended");
            let line = format!("fake-ec2: the instance's program ended: {status}\n");
            control.console(&instance, line.as_bytes());
        }
        Err(error) => tracing::error!(instance, %error, "wait for an instance's program"),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut chain = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        chain = format!("{chain}: {cause}");
        source = cause.source();
    }
    chain
}
