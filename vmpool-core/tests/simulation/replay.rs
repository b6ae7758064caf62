//! A seed plays the same each time, byte for byte.

use vmpool_core::testkit::sim::{Plan, play};

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 10_000..10_100 {
        let plan = Plan::from_seed(seed);
        let (one, other) = (play(&plan, true), play(&plan, true));
        let (one, other) = (one.told, other.told);
        if one.hash != other.hash {
            let lines = one.tail.iter().zip(&other.tail);
            let first = lines.enumerate().find(|(_, (one, other))| one != other);
            let at = first.map_or(0, |(at, _)| at);
            let before = one.tail[at.saturating_sub(30)..at].join("\n");
            panic!("seed {seed} plays differently after\n{before}\n{first:#?}");
        }
    }
}
