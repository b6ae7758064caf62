//! Pools of EC2 machines: the real program, the real SDK, and a fake EC2 whose
//! machines are agents that start from the very user data.

use std::path::Path;
use std::sync::Arc;

use fake_ec2::{AgentGuest, Clock, Config, FakeEc2, Fault, Policy, Processes, Rule, Timing};
use serde_json::json;

use crate::support::{Serving, Site, lite_engine, step, wait_for};

pub(crate) const KEY: &str = "AKIAFAKE";

/// A site whose pool is of a fake EC2's machines.
pub(crate) struct Cloud {
    pub(crate) site: Site,
    pub(crate) fake: FakeEc2,
}

impl Cloud {
    /// Each test has a region of its own: regions share no addresses.
    async fn new(region: &str, warm: u32, limit: u32) -> Self {
        Self::with(region, warm, limit, "").await
    }

    /// The same with further keys of the pool's `spec`, each on a line of its own.
    pub(crate) async fn with(region: &str, warm: u32, limit: u32, keys: &str) -> Self {
        let site = Site::new(0, 1);
        let disks = site.path().join("disks");
        std::fs::create_dir(&disks).expect("a folder for disks");
        let guest = AgentGuest {
            agent: lite_engine().to_owned(),
            port: 9079,
        };
        let config = Config {
            // Ids of machines come from it, and processes are found by these.
            seed: fastrand::u64(..),
            timing: Timing::instant(),
            ..Config::default()
        };
        let machines = Arc::new(Processes::new(disks, Arc::new(guest)));
        let listen = ([127, 0, 0, 1], 0).into();
        let fake = FakeEc2::start(config, Clock::host(), machines, listen).await;
        let ami = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/\
                   ebs-gp3/ami-id";
        site.pool_file(&format!(
            "version: \"1\"\ninstances:\n- name: linux\n  type: amazon\n  pool: {warm}\n  limit: \
             {limit}\n  spec:\n    account: {{region: {region}}}\n    ami: {ami}\n    size: \
             m6i.large\n    network: {{private_ip: true, allow_from: [10.0.0.0/8]}}\n    clocks: \
             {{boot: 2m, idle: 2m, stage_grace: 2m}}\n{keys}",
        ));
        Self {
            site,
            fake: fake.expect("a fake EC2"),
        }
    }

    pub(crate) fn command(&self) -> std::process::Command {
        let program = Path::new(env!("CARGO_BIN_EXE_vmpool"));
        let mut command = self.site.command(program);
        command
            .env("AWS_ENDPOINT_URL", self.fake.url())
            .env("AMAZON_ACCESS_KEY_ID", KEY)
            .env("AMAZON_ACCESS_KEY_SECRET", "secret");
        command
    }

    pub(crate) async fn serve(&self) -> Serving {
        self.site.ready(&mut self.command()).await
    }

    /// The machines that cost money.
    pub(crate) fn alive(&self) -> Vec<String> {
        self.fake.control().with(|cloud, _| {
            let instances = cloud.instances();
            let alive = instances.filter(|(_, _, instance)| instance.state.counted());
            alive.map(|(_, _, instance)| instance.id.clone()).collect()
        })
    }

    pub(crate) async fn wait_until_alive(&self, count: usize) {
        wait_for(&format!("{count} machines"), async || {
            (self.alive().len() == count).then_some(())
        })
        .await;
    }

    /// Until this machine is gone, and one other has its place.
    pub(crate) async fn wait_until_replaced(&self, machine: &String) {
        wait_for("the machine's end, and another", async || {
            let alive = self.alive();
            (alive.len() == 1 && !alive.contains(machine)).then_some(())
        })
        .await;
    }

    pub(crate) async fn end(self) {
        self.fake.stop().await;
    }
}

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
