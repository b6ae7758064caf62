//! Passes: what they cost, who gets them, and what becomes of them where
//! nobody wants them any more.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use vmpool_core::account::{Account, AccountConfig, CallKind, Priority, Rate, Retries};
use vmpool_core::{ErrorKind, ProviderError};

const SECOND: Duration = Duration::from_secs(1);

fn account(burst: u32, every: Duration) -> Account {
    Account::new(AccountConfig {
        launch: Rate { burst, every },
        ..AccountConfig::default()
    })
}

async fn fine(account: &Account, priority: Priority) {
    let call = account.call(CallKind::Launch, priority, async { Some(()) });
    call.await;
}

async fn failing(account: &Account) {
    let answer = async {
        let error = ProviderError::new(ErrorKind::Transient, "launch");
        Err::<(), _>(error)
    };
    let call = account.call(CallKind::Launch, Priority::Request, answer);
    call.await.expect_err("it fails");
}

#[tokio::test(start_paused = true)]
async fn p8_a_turn_that_is_given_to_a_dropped_waiter_goes_to_the_next() {
    let account = account(1, SECOND);
    fine(&account, Priority::Request).await;
    let mut next = JoinSet::new();
    {
        let mut first = pin!(account.pass(CallKind::Launch, Priority::Request));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        let account = account.clone();
        next.spawn(async move { fine(&account, Priority::Request).await });
        // The other wakes, and gives the turn to the first, who does not look.
        tokio::time::sleep(SECOND).await;
        assert_eq!(next.len(), 1);
        assert!(next.try_join_next().is_none(), "it is the first one's turn");
    }
    let begun = Instant::now();
    next.join_all().await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn p8_a_pass_that_is_not_used_costs_nothing() {
    let account = account(1, SECOND);
    for _ in 0..100 {
        drop(account.pass(CallKind::Launch, Priority::Request).await);
    }
    assert_eq!(account.held_off(CallKind::Launch), None);
}

#[tokio::test(start_paused = true)]
async fn p8_waiters_that_are_dropped_all_the_time_lose_no_turn() {
    let account = account(10, SECOND / 10);
    let begun = Instant::now();
    let mut waiters = JoinSet::new();
    for n in 0..1000_u64 {
        let account = account.clone();
        let priority = [Priority::Request, Priority::Audit][usize::from(n % 7 == 0)];
        waiters.spawn(async move {
            tokio::time::sleep(Duration::from_millis(n % 13)).await;
            // Two of three lose their patience, at all kinds of moments.
            let patience = Duration::from_millis(if n % 3 == 0 { 3_600_000 } else { n * 17 });
            let call = tokio::time::timeout(patience, fine(&account, priority));
            let served = call.await.is_ok();
            assert!(served || n % 3 != 0, "who waits is served");
            u32::from(served)
        });
    }
    let all: u32 = waiters.join_all().await.into_iter().sum();
    assert_eq!(account.waiting(), []);
    // Ten at the beginning, then one in a tenth of a second: none is lost, none
    // is made up.
    let due = (all - 10) * SECOND / 10;
    let took = begun.elapsed();
    assert!(took >= due, "{all} calls within {took:?}");
    assert!(took <= due + SECOND, "{all} calls took {took:?}");
}

#[tokio::test(start_paused = true)]
async fn p8_an_audit_has_its_turn_however_many_are_more_urgent() {
    let account = account(1, SECOND);
    let mut urgent = JoinSet::new();
    for _ in 0..10 {
        let account = account.clone();
        urgent.spawn(async move {
            loop {
                fine(&account, Priority::Terminate).await;
            }
        });
    }
    tokio::time::sleep(SECOND).await;
    let begun = Instant::now();
    fine(&account, Priority::Audit).await;
    // Eight turns for each who came before, and its own.
    assert!(begun.elapsed() <= SECOND * 8 * 11, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn p8_retries_are_a_tenth_of_the_calls_and_a_few_in_any_case() {
    let retries = Retries {
        percent: 10,
        floor: Rate {
            burst: 3,
            every: Duration::from_secs(10),
        },
    };
    let account = Account::new(AccountConfig {
        retries,
        ..AccountConfig::default()
    });
    for _ in 0..500 {
        fine(&account, Priority::Refill).await;
    }
    let mut eager = JoinSet::new();
    for _ in 0..20 {
        let account = account.clone();
        eager.spawn(async move {
            let mut made = 0_u32;
            let hour = tokio::time::timeout(Duration::from_hours(1), async {
                loop {
                    failing(&account).await;
                    made += 1;
                }
            });
            let _: Result<std::convert::Infallible, _> = hour.await;
            made
        });
    }
    let made: u32 = eager.join_all().await.into_iter().sum();
    // 50 are earned, 3 and then one in ten seconds are allowed, and 20 begin at once.
    assert!((400..=50 + 3 + 360 + 20).contains(&made), "{made} calls");
}
