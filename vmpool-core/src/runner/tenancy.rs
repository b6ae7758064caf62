//! Whose a pool is: one task a pool that takes it when it can be had, rules it
//! while it is ours, and asks for it again when it is not.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, timeout};

use super::RunnerStartError;
use super::given::Given;
use super::lease::{Renewal, ask_again_in, guard, renew_until_lost};
use super::parts::{PoolSource, Sharing};
use super::reign::{Crown, PAUSE, Reign};
use super::saving::Saving;
use super::shared::{Shared, Standing};
use crate::id::{PoolName, Term};
use crate::journal::{JournalError, Taken};
use crate::pool::{Pool as _, PoolEvents, PoolParts, Rule, StartError, WarmPool};

/// A pool that is handed over is given up within this, or left to its lease.
const GIVE_UP_PATIENCE: Duration = Duration::from_secs(3);

/// How the first attempt to have the pool went, for who starts the runner.
type First = Option<oneshot::Sender<Result<(), RunnerStartError>>>;

/// Why a reign is over.
enum Over {
    /// The pool is another's.
    Lost,
    /// We go, or nothing of the pool is left here.
    Leaving,
    /// The pool has another source.
    Renewed,
    /// The runner does not start.
    NotStarted,
}

impl Shared {
    /// Owns the pool whenever it can be had, until the runner leaves, or
    /// nothing of the pool is left.
    pub(super) async fn own(self: Arc<Self>, pool: Arc<Given>, mut first: First) {
        let name = &pool.name;
        let mut sources = pool.source.subscribe();
        loop {
            let asked = Instant::now();
            let taken = tokio::select! {
                biased;
                () = self.leaves(&pool) => return,
                taken = self.take(name) => taken,
            };
            let pause = match taken {
                Ok(Taken::Ours(term)) => {
                    let reign = self.reign(&pool, &mut sources, term, asked, &mut first);
                    match reign.await {
                        Over::Lost | Over::Renewed => continue,
                        Over::Leaving | Over::NotStarted => return,
                    }
                }
                Ok(Taken::Theirs(ownership)) => {
                    self.stands(&pool, Standing::Theirs(ownership.holder));
                    ask_again_in(self.parts.sharing, ownership.left)
                }
                Err(source) => {
                    self.troubles
                        .tell(Some(name), format!("take pool {name}: {source}"));
                    if let Some(first) = first.take() {
                        let pool = name.clone();
                        // Who starts the runner may have gone.
                        let _ = first.send(Err(RunnerStartError::Take { pool, source }));
                        return;
                    }
                    PAUSE
                }
            };
            if let Some(first) = first.take() {
                let _ = first.send(Ok(()));
            }
            tokio::select! {
                biased;
                () = self.leaves(&pool) => return,
                _ = sources.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Ends when the pool is to be ruled from here no more.
    async fn leaves(&self, pool: &Given) {
        tokio::select! {
            () = self.leaving.cancelled() => {}
            () = pool.over.cancelled() => {}
        }
    }

    async fn take(&self, pool: &PoolName) -> Result<Taken, JournalError> {
        let (journal, holder) = (&self.parts.journal, &self.parts.holder);
        let now = self.parts.clock.now();
        match self.parts.sharing {
            // The term alone keeps it, so that whoever comes next finds it free.
            Sharing::Alone => match journal.take(pool, holder, Duration::ZERO, now).await? {
                Taken::Theirs(_) => Ok(Taken::Ours(journal.raise_term(pool, now).await?)),
                ours @ Taken::Ours(_) => Ok(ours),
            },
            Sharing::Shared(times) => journal.take(pool, holder, times.lease, now).await,
        }
    }

    /// Rules a pool that was taken by a call begun at `asked`, for as long as it is ours.
    async fn reign(
        &self,
        pool: &Given,
        sources: &mut watch::Receiver<PoolSource>,
        term: Term,
        asked: Instant,
        first: &mut First,
    ) -> Over {
        let source = sources.borrow_and_update().clone();
        let (may_write, may) = watch::channel(true);
        let (agreed, agreements) = watch::channel(asked);
        let doubt = Arc::new(Notify::new());
        let renewal = Renewal {
            parts: &self.parts,
            troubles: &self.troubles,
            pool: &source.config.name,
            term,
            agreed,
            doubt: &doubt,
        };
        let crown = || Crown {
            name: source.config.name.clone(),
            term,
            parts: self.parts.clone(),
            troubles: self.troubles.clone(),
            may_write: may.clone(),
            doubt: doubt.clone(),
            followed: self.followed.clone(),
            gone: self.stop.child_token(),
        };
        let over = tokio::select! {
            biased;
            () = guard(self.parts.sharing, agreements, &may_write) => Over::Lost,
            () = self.leaves(pool) => Over::Leaving,
            _ = sources.changed() => Over::Renewed,
            () = renew_until_lost(&renewal) => Over::Lost,
            () = self.rule(pool, &source, crown, first) => Over::NotStarted,
        };
        // What is under way still may write nothing from here on.
        may_write.send_replace(false);
        let reign = self.stands(pool, Standing::Nobodys);
        if let Some(reign) = reign {
            self.step_down(reign).await;
        }
        if matches!(over, Over::Leaving) {
            self.give_up(&source.config.name, term).await;
        }
        over
    }

    /// Starts the pool, goes on with what the journal has of it, and hears what
    /// happens there. Ends only where the runner does not start.
    async fn rule(
        &self,
        given: &Given,
        source: &PoolSource,
        crown: impl Fn() -> Crown,
        first: &mut First,
    ) {
        let (reign, events) = loop {
            match self.begin(source, crown()).await {
                Ok(begun) => break begun,
                Err(error) => {
                    if self.is_over(error, first) {
                        return;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        };
        // From here on the pool writes. It is not begun anew under the same term:
        // that one would not know of what this one still has on its way.
        while let Err(source) = reign.resume().await {
            let pool = reign.name.clone();
            if self.is_over(StartError { pool, source }, first) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.stands(given, Standing::Ours(reign.clone()));
        // It may have been resized while it began.
        let size = given.source.borrow().config.clone();
        reign.pool.resize(size.warm, size.limit);
        if let Some(first) = first.take() {
            let _ = first.send(Ok(()));
        }
        reign.listen(events, || self.changed()).await;
        std::future::pending::<()>().await;
    }

    /// A pool could not be begun. True where the runner does not start for that;
    /// else it is tried again.
    fn is_over(&self, error: StartError, first: &mut First) -> bool {
        let text = format!("{error}: {}", error.source);
        self.troubles.tell(Some(&error.pool), text);
        let Some(first) = first.take() else {
            return false;
        };
        // Who starts the runner may have gone.
        let _ = first.send(Err(error.into()));
        true
    }

    async fn begin(
        &self,
        source: &PoolSource,
        crown: Crown,
    ) -> Result<(Arc<Reign>, PoolEvents), StartError> {
        let parts = &self.parts;
        let saving = Arc::new(Saving::default());
        let pool_parts = PoolParts::new(
            source.provider.clone(),
            parts.link.clone(),
            parts.journal.clone(),
            parts.clock,
        );
        let pool_parts = pool_parts
            .with_account(source.account.clone())
            .with_salvage(saving.clone());
        let rule = Rule {
            term: crown.term,
            may_write: crown.may_write.clone(),
        };
        let pool = WarmPool::start_under(source.config.clone(), pool_parts, rule).await?;
        // Before anything else is awaited, so that nothing is missed.
        let events = pool.events();
        let reign = Reign::new(crown, pool);
        saving.by(&reign);
        Ok((reign, events))
    }

    /// Ends all that is done here for a pool. Its machines and what runs on
    /// them stay as they are; the connections to them are closed.
    async fn step_down(&self, reign: Arc<Reign>) {
        reign.gone.cancel();
        reign.tasks.close();
        reign.tasks.wait().await;
        let machines = reign.pool.status().machines;
        // The pool's own tasks end with it, and open nothing again.
        drop(reign);
        for machine in machines {
            self.parts.link.close(&machine.id);
        }
    }

    async fn give_up(&self, pool: &PoolName, term: Term) {
        if self.parts.sharing == Sharing::Alone {
            return;
        }
        let now = self.parts.clock.now();
        let given = self.parts.journal.give_up(pool, term, now);
        let reason = match timeout(GIVE_UP_PATIENCE, given).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        let text = format!("give up pool {pool}: {reason}; it is free when its lease ends");
        self.troubles.tell(Some(pool), text);
    }
}
