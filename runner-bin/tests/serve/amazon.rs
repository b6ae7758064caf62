//! Pools of EC2 machines: builds go on whatever happens to these.

use fake_ec2::{Fault, Policy, Rule};
use serde_json::json;

use crate::cloud::{Cloud, KEY};
use crate::support::{Serving, step, wait_for};

#[tokio::test]
async fn a_build_runs_on_an_ec2_machine_that_is_gone_afterwards() {
    let cloud = Cloud::new("us-east-1", 1, 3).await;
    let runner = cloud.serve().await;
    let site = &cloud.site;
    let machine = site.setup("s").await;
    assert!(cloud.alive().contains(&machine), "{machine}");
    let expected = json!({"exited": true, "exit_code": 3, "error": "exit status 3"});
    let answered = site
        .insist("/step", &step("s", "hi", "echo hello; exit 3"))
        .await;
    assert_eq!(answered.json(), expected);
    assert_eq!(site.log("s", "hi"), "hello\n");
    site.destroy("s").await;
    cloud.wait_until_replaced(&machine).await;
    drop(runner);
    cloud.end().await;
}

#[tokio::test]
async fn p1_a_runner_killed_after_a_launch_whose_answer_was_lost_leaks_nothing() {
    let cloud = Cloud::new("us-east-2", 2, 2).await;
    let lost = Rule::on("RunInstances", Fault::LoseAnswer).times(1);
    cloud.fake.control().fault(lost);
    let runner = Serving::begin(&mut cloud.command());
    cloud.wait_until_alive(2).await;
    runner.kill().await;
    let runner = cloud.serve().await;
    let machines = [cloud.site.setup("a").await, cloud.site.setup("b").await];
    let mut alive = cloud.alive();
    alive.sort();
    let mut served = machines.to_vec();
    served.sort();
    assert_eq!(
        alive, served,
        "P7: those two, and no others were ever launched"
    );
    cloud.site.destroy("a").await;
    cloud.site.destroy("b").await;
    wait_for("two others", async || {
        let alive = cloud.alive();
        let fresh = alive.iter().all(|machine| !machines.contains(machine));
        (alive.len() == 2 && fresh).then_some(())
    })
    .await;
    drop(runner);
    cloud.end().await;
}

#[tokio::test]
async fn p3_a_runner_started_while_the_account_is_away_serves_what_is_warm() {
    let cloud = Cloud::new("eu-west-1", 1, 2).await;
    let runner = cloud.serve().await;
    // Its setup and its end are those of one machine; another is ready then.
    cloud.site.setup("first").await;
    cloud.site.destroy("first").await;
    wait_for("a warm machine alone", async || {
        (cloud.alive().len() == 1).then_some(())
    })
    .await;
    runner.kill().await;
    let code = "RequestLimitExceeded".to_owned();
    let message = String::new();
    let away = Rule::any(Fault::Error { code, message });
    cloud.fake.control().fault(away);
    let runner = cloud.serve().await;
    let warm = cloud.alive();
    let machine = cloud.site.setup("s").await;
    assert_eq!(warm, [machine]);
    let answered = cloud
        .site
        .insist("/step", &step("s", "hi", "echo hi"))
        .await;
    assert_eq!(answered.json(), json!({"exited": true}));
    assert!(cloud.site.said().contains("its last answer counts"));
    cloud.fake.control().with(|cloud, _| cloud.faults.clear());
    cloud.site.destroy("s").await;
    wait_for("another machine", async || {
        let alive = cloud.alive();
        (alive.len() == 1 && alive != warm).then_some(())
    })
    .await;
    drop(runner);
    cloud.end().await;
}

#[tokio::test]
async fn p3_a_build_whose_machine_is_terminated_from_the_console_is_told_so() {
    let cloud = Cloud::new("eu-central-1", 1, 3).await;
    let runner = cloud.serve().await;
    let machine = cloud.site.setup("s").await;
    let endless = step("s", "long", "echo begun; sleep 1000");
    let (told, ()) = tokio::join!(cloud.site.insist("/step", &endless), async {
        wait_for("the first line", async || {
            (cloud.site.log("s", "long") == "begun\n").then_some(())
        })
        .await;
        cloud.fake.control().terminate([machine.as_str()]);
    });
    assert!(
        told.body.contains("Client.UserInitiatedShutdown"),
        "{told:?}"
    );
    wait_for("a full pool without it", async || {
        let alive = cloud.alive();
        (alive.len() == 1 && !alive.contains(&machine)).then_some(())
    })
    .await;
    drop(runner);
    cloud.end().await;
}

#[tokio::test]
async fn p13_what_the_account_does_not_give_is_told_at_start_with_the_key() {
    let cloud = Cloud::new("us-west-2", 1, 1).await;
    let control = cloud.fake.control();
    control.policy(KEY, Policy::all_but(["ec2:DescribeImages"]));
    let mut runner = Serving::begin(&mut cloud.command());
    let status = runner.end().await;
    assert!(!status.success(), "{status}");
    let said = cloud.site.said();
    for part in ["pool linux", "spec.ami", "UnauthorizedOperation"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let launches = control.with(|cloud, _| cloud.record.count("RunInstances"));
    assert_eq!(launches, 0);
    cloud.end().await;
}
