//! Two runners on one PostgreSQL: whichever is asked.

use serde_json::json;

use crate::fleet::Fleet;
use crate::support::{setup, wait_for};
use crate::tools::vmpool;

#[tokio::test(flavor = "multi_thread")]
async fn any_runner_of_a_deployment_and_its_journal_tell_of_every_pool() {
    let fleet = Fleet::new(0, 1).await;
    let one = fleet.runner("one").await;
    let two = fleet.runner("two").await;
    let answered = one.post("/setup", &setup("S1")).await;
    let machine = answered.expect("an answer").machine();
    let state = |name: &str| fleet.site.path().join(name).display().to_string();
    let owner = fleet.owner().await.expect("the pool has an owner");
    let (owner, other) = if owner == one.url {
        (state("one"), state("two"))
    } else {
        (state("two"), state("one"))
    };

    let at_owner = vmpool(&["pool", "ls", "--state", &owner, "--json"]).await;
    let at_other = vmpool(&["pool", "ls", "--state", &other, "--json"]).await;
    let (at_owner, at_other) = (at_owner.json(), at_other.json());
    assert_eq!(at_owner["pools"][0]["ours"], json!(true));
    let pool = &at_other["pools"][0];
    assert_eq!(pool["ours"], json!(false));
    assert_eq!(pool["holder"], at_owner["runner_id"]);
    let shown = vmpool(&["pool", "ls", "--state", &other]).await;
    let holder = at_owner["runner_id"].as_str().expect("its id");
    assert!(shown.out.contains(&holder[..8]), "{shown:?}");
    assert!(
        shown.out.contains("ask that one for its machines"),
        "{shown:?}"
    );

    let journal = ["--journal", &fleet.journal];
    for asked in [["--state", &owner], ["--state", &other], journal] {
        let story = vmpool(&["explain", "S1", asked[0], asked[1]]).await;
        assert!(story.out.contains(&machine), "{asked:?}: {story:?}");
        let ledger = vmpool(&["pool", "ledger", asked[0], asked[1], "--json"]).await;
        assert_eq!(
            ledger.lines()[0]["id"],
            json!(machine),
            "{asked:?}: {ledger:?}"
        );
    }
    // Only the owner vouches for its pool, once it has seen what the provider has.
    let unchecked = async |asked: [&str; 2]| {
        let ledger = vmpool(&["pool", "ledger", asked[0], asked[1], "--json"]).await;
        ledger.lines().last().expect("the sum")["summary"]["unchecked"].clone()
    };
    wait_for("a look at what the provider has", async || {
        (unchecked(["--state", &owner]).await == json!([])).then_some(())
    })
    .await;
    assert_eq!(unchecked(["--state", &other]).await, json!(["linux"]));
    assert_eq!(unchecked(journal).await, json!(["linux"]));
    let alone = vmpool(&["pool", "ls", "--journal", &fleet.journal]).await;
    assert!(
        alone.out.starts_with("no runner: journal postgres://"),
        "{alone:?}"
    );
    assert!(alone.out.contains(&machine), "{alone:?}");
    drop(two);
}
