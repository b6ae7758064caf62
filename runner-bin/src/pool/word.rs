//! `vmpool pool cordon|drain|fill`: what a person says of a pool.

use std::time::Duration;

use anyhow::anyhow;
use tokio::time::{Instant, sleep};
use vmpool_proto::v1::{CordonRequest, FillRequest, Pool};

use super::args::{CordonArgs, DrainArgs, FillArgs};
use super::ls::machines;
use crate::client::RunnerSource;
use crate::exit::{Exit, OrExit as _, Stopped};
use crate::out::say;
use crate::screen::{human, printable};
use crate::told;

/// Between two looks at what a drained pool still has.
const LOOK: Duration = Duration::from_millis(500);

pub(super) async fn cordon(args: &CordonArgs) -> Result<Exit, Stopped> {
    let runner = args.runner.open().await?;
    let pool = runner.cordon(word(args, false)).await?;
    tell(&pool, args.json)?;
    Ok(Exit::Success)
}

pub(super) async fn drain(args: &DrainArgs) -> Result<Exit, Stopped> {
    let runner = args.cordon.runner.open().await?;
    let mut pool = runner.cordon(word(&args.cordon, true)).await?;
    if let Some(patience) = args.wait {
        pool = emptied(&runner, pool, patience).await?;
    }
    tell(&pool, args.cordon.json)?;
    Ok(Exit::Success)
}

pub(super) async fn fill(args: &FillArgs) -> Result<Exit, Stopped> {
    let runner = args.runner.open().await?;
    let request = FillRequest {
        pool: args.pool.clone(),
    };
    tell(&runner.fill(request).await?, args.json)?;
    Ok(Exit::Success)
}

fn word(args: &CordonArgs, drains: bool) -> CordonRequest {
    CordonRequest {
        pool: args.pool.clone(),
        drains,
        by: args.word.by(),
        why: args.word.why.clone(),
    }
}

/// The pool once it has no machine any more.
async fn emptied(
    runner: &RunnerSource,
    mut pool: Pool,
    patience: Duration,
) -> Result<Pool, Stopped> {
    let until = Instant::now() + patience;
    // One of which its owner said nothing is not known to be empty.
    while pool.warm.is_none() || pool.ordered > 0 || !pool.machines.is_empty() {
        if Instant::now() >= until {
            let (name, left) = (&pool.name, left(&pool));
            let error = anyhow!("pool {name} is not empty after {}: {left}", human(patience));
            return Err(error).or_exit(Exit::Failed);
        }
        sleep(LOOK).await;
        pool = runner.pool(&pool.name).await?;
    }
    Ok(pool)
}

fn tell(pool: &Pool, json: bool) -> Result<(), Stopped> {
    if json {
        let pool = told::Pool::from(pool);
        return say(format_args!("{}\n", serde_json::json!(pool)));
    }
    say(format_args!("{}\n", text(pool)))
}

fn text(pool: &Pool) -> String {
    let (name, left) = (printable(&pool.name), left(pool));
    match &pool.cordon {
        Some(cordon) if cordon.drains => format!("pool {name} is drained: {left}"),
        Some(_) => format!("pool {name} takes no new stages: {left}"),
        None if pool.stopped.is_empty() => format!("pool {name} takes stages: {left}"),
        None => {
            let why = printable(&pool.stopped);
            format!("pool {name} is not cordoned, but takes no requests: {why}")
        }
    }
}

/// `2 machines are ready, 1 has a stage`.
fn left(pool: &Pool) -> String {
    let of = |count: u32, one: &str, more: &str| {
        let verb = if count == 1 { one } else { more };
        (count > 0).then(|| format!("{} {verb}", machines(count)))
    };
    let coming = pool.booting + pool.ordered;
    let told = [
        of(pool.ready, "is ready", "are ready"),
        of(coming, "is on its way", "are on their way"),
        of(pool.claimed, "has a stage", "have stages"),
        of(pool.held, "is held", "are held"),
        of(pool.ending, "is ending", "are ending"),
    ];
    let told: Vec<_> = told.into_iter().flatten().collect();
    if told.is_empty() {
        "it has no machines".to_owned()
    } else {
        told.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use vmpool_proto::v1::Cordon;

    use super::*;

    #[test]
    fn what_is_left_of_a_pool_is_told_in_words() {
        let mut pool = Pool {
            name: "linux".to_owned(),
            ready: 1,
            claimed: 2,
            ending: 1,
            ..Pool::default()
        };
        let all = "1 machine is ready, 2 machines have stages, 1 machine is ending";
        assert_eq!(text(&pool), format!("pool linux takes stages: {all}"));
        pool.cordon = Some(Cordon::default());
        assert_eq!(
            text(&pool),
            format!("pool linux takes no new stages: {all}")
        );
        pool.cordon = Some(Cordon {
            drains: true,
            ..Cordon::default()
        });
        (pool.ready, pool.claimed, pool.ending) = (0, 0, 0);
        assert_eq!(text(&pool), "pool linux is drained: it has no machines");
    }
}
