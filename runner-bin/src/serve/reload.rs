//! Another pool file while the runner works. It is in force as a whole, or not
//! at all: all of it is read, and what it leaves open is asked, before anything
//! is changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use vmpool_core::runner::Reloaded;
use vmpool_pipeline::Rejected;

use super::pools;
use super::shift::Shift;
use super::site::Site;
use crate::exit::{Exit, OrExit as _, Stopped};

/// What the file leaves open is known within this, or the file is not taken.
const PATIENCE: Duration = Duration::from_mins(2);

impl Shift {
    /// Goes by the pool file as it is now, if it can be used; says what became of it.
    ///
    /// # Cancel safety
    /// A dropped call has changed nothing: call again.
    pub(super) async fn reload(&mut self, site: &Site) {
        let reloaded = timeout(PATIENCE, self.try_reload(site)).await;
        let waited = |_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}"));
        match reloaded.unwrap_or_else(waited) {
            Ok(reloaded) if reloaded.is_empty() => {
                tracing::info!("the pool file was read: the pools are as they were");
            }
            Ok(reloaded) => {
                let Reloaded {
                    begun,
                    resized,
                    renewed,
                    retired,
                } = reloaded;
                tracing::info!(
                    ?begun,
                    ?resized,
                    ?renewed,
                    ?retired,
                    "the pool file was read, and is in force"
                );
            }
            Err(error) => {
                for reason in reasons(&error) {
                    tracing::error!("{reason}");
                }
                tracing::error!("the pool file is not taken: the one before stays in force");
            }
        }
    }

    async fn try_reload(&mut self, site: &Site) -> anyhow::Result<Reloaded> {
        let given = site.args.deployment.as_deref();
        let read = || {
            let file = pools::read(&site.args.pool)?;
            pools::owner(given, &file)?;
            pools::check_start_up(&file, site.agents.as_ref()).or_exit(Exit::BadInput)?;
            Ok(file)
        };
        let file = Arc::new(read().map_err(|stopped: Stopped| stopped.error)?);
        let (deployment, offered) = (site.authority.deployment(), site.agents.as_ref());
        let stopped = self.stopped_pools();
        let made = self
            .sources
            .make(&file, &stopped, &site.owner, deployment, offered);
        let made = made.await?;
        // Nothing is awaited from here on.
        let reloaded = self.runner.reload(made.sources())?;
        self.sources.keep(made);
        site.desk.offer(file);
        Ok(reloaded)
    }

    /// Pools that take no requests: whoever reads their file again wants them tried again.
    fn stopped_pools(&self) -> Vec<String> {
        let standings = self.runner.status().into_iter();
        let stopped = standings.filter(|standing| {
            let status = standing.status.as_ref();
            status.is_some_and(|status| status.stopped.is_some())
        });
        stopped.map(|standing| standing.name.to_string()).collect()
    }
}

/// The mistakes of a file, a line each, or the one reason.
fn reasons(error: &anyhow::Error) -> Vec<String> {
    match error.downcast_ref::<Rejected>() {
        Some(rejected) => rejected.errors.iter().map(ToString::to_string).collect(),
        None => vec![format!("{error:#}")],
    }
}
