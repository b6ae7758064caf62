//! How likely things go wrong by themselves, at the moment.

use super::dice::Dice;

/// Chances in a hundred, each for one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weather {
    /// A launch is throttled, or finds no capacity, or fails in passing.
    pub(super) launch_fails: u64,
    /// A launch gets some of its machines only.
    pub(super) launch_partial: u64,
    /// An answer of the provider is lost; its call was carried out or not.
    pub(super) answer_lost: u64,
    /// A call of the provider hangs.
    pub(super) hangs: u64,
    /// A listing breaks off midway.
    pub(super) listing_incomplete: u64,
    /// A listing or a termination fails.
    pub(super) call_fails: u64,
    /// A commit is not made.
    pub(super) commit_fails: u64,
    /// Whether a commit is made is not known.
    pub(super) commit_ambiguous: u64,
    /// A commit, or the answer of the journal, takes seconds.
    pub(super) commit_slow: u64,
    /// The journal can't be read.
    pub(super) read_fails: u64,
    /// A call to an agent takes seconds.
    pub(super) agent_slow: u64,
    /// A renewal is not answered.
    pub(super) renewal_fails: u64,
    /// A log can't be written.
    pub(super) log_fails: u64,
}

impl Weather {
    /// Nothing goes wrong.
    pub(super) fn fair() -> Self {
        Self::default()
    }

    /// A few things go wrong at a time, so that each is seen alone and with others.
    pub(super) fn rough(dice: &Dice) -> Self {
        let some = |most: u64| {
            if dice.chance(40) {
                dice.below(most + 1)
            } else {
                0
            }
        };
        Self {
            launch_fails: some(70),
            launch_partial: some(60),
            answer_lost: some(50),
            hangs: some(15),
            listing_incomplete: some(50),
            call_fails: some(50),
            commit_fails: some(25),
            commit_ambiguous: some(25),
            commit_slow: some(40),
            read_fails: some(30),
            agent_slow: some(40),
            renewal_fails: some(50),
            log_fails: some(20),
        }
    }
}
