//! Terms and leases: whose a pool is.

use std::sync::Arc;
use std::time::Duration;

use super::rows::{batch, fixture, machine};
use crate::clock::Timestamp;
use crate::id::{PoolName, RunnerId, Term};
use crate::journal::{Change, CommitError, Cordon, Holder, Journal, JournalError, Taken};

pub(super) async fn a_lower_term_is_refused(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "terms").await?;
    assert!(
        fixture.term >= Term(fixture.now.0),
        "a term is at least the time"
    );
    let higher = journal.raise_term(&fixture.pool, Timestamp(0)).await?;
    assert!(higher > fixture.term, "each term is higher than the last");
    let changes = vec![Change::new(machine(&fixture, "one"), "booting", "a test")];
    let refused = journal.commit(batch(&fixture, changes)).await;
    assert!(
        matches!(&refused, Err(CommitError::Fenced { ours, theirs, .. })
            if *ours == fixture.term && *theirs == higher),
        "{refused:?}"
    );
    Ok(())
}

pub(super) async fn a_pool_is_taken_when_its_lease_is_over(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let pool = PoolName::new(format!("lease-{}", uuid::Uuid::new_v4().simple()));
    let holder = |name: &str| Holder {
        runner: RunnerId::new(name),
        url: format!("https://{name}").into(),
    };
    let (one, other) = (holder("one"), holder("other"));
    // A journal may have a clock of its own, so the leases are long or given up.
    let hour = Duration::from_hours(1);
    let now = Timestamp(5_000_000);
    let Taken::Ours(first) = journal.take(&pool, &one, hour, now).await? else {
        panic!("a pool that nobody has is to be had");
    };
    match journal.take(&pool, &other, hour, now).await? {
        Taken::Theirs(theirs) => {
            assert_eq!((&theirs.holder, theirs.term), (&one, first));
            assert!(!theirs.left.is_zero() && theirs.left <= hour, "{theirs:?}");
        }
        Taken::Ours(_) => panic!("two hold one pool"),
    }
    let Taken::Ours(second) = journal.take(&pool, &one, hour, now).await? else {
        panic!("a runner that restarts takes its pool again");
    };
    assert!(second > first, "a restart is another term");
    assert!(
        !journal.renew(&pool, first, hour, now).await?,
        "an old term renews"
    );
    assert!(journal.renew(&pool, second, hour, now).await?);
    journal.give_up(&pool, first, now).await?;
    assert!(matches!(
        journal.take(&pool, &other, hour, now).await?,
        Taken::Theirs(_)
    ));
    journal.give_up(&pool, second, now).await?;
    let later = now.after(Duration::from_millis(1));
    let Taken::Ours(third) = journal.take(&pool, &other, hour, later).await? else {
        panic!("a pool that was given up is to be had at once");
    };
    assert!(third > second);
    let known = journal.pools(later).await?;
    let known = known.iter().find(|known| known.pool == pool);
    let known = known.expect("a pool that has an owner is listed");
    assert_eq!((&known.holder, known.term), (&other, third));
    Ok(())
}

pub(super) async fn a_cordon_stands_whoever_rules_the_pool(
    journal: &Arc<dyn Journal>,
) -> Result<(), JournalError> {
    let fixture = fixture(journal, "cordon").await?;
    let pool = &fixture.pool;
    assert_eq!(journal.pool(pool).await?.cordon, None);
    let cordon = |drains| Cordon {
        drains,
        by: "ann".into(),
        why: "\u{e4}nother 'image'".into(),
        at: Timestamp(7),
    };
    let first = fixture.term;
    assert!(journal.cordon(pool, first, Some(&cordon(false))).await?);
    assert!(journal.cordon(pool, first, Some(&cordon(true))).await?);
    assert_eq!(journal.pool(pool).await?.cordon, Some(cordon(true)));

    let second = journal.raise_term(pool, Timestamp(0)).await?;
    assert!(
        !journal.cordon(pool, first, None).await?,
        "an old term fills it"
    );
    assert_eq!(journal.pool(pool).await?.cordon, Some(cordon(true)));
    assert!(journal.cordon(pool, second, None).await?);
    assert_eq!(journal.pool(pool).await?.cordon, None);
    Ok(())
}
