//! A site whose pool is of EC2 machines: the real program, the real SDK, and a
//! fake EC2 whose machines are agents that start from the very user data.

use std::path::Path;
use std::sync::Arc;

use fake_ec2::{AgentGuest, Clock, Config, FakeEc2, Processes, Timing};

use crate::support::{Serving, Site, lite_engine, wait_for};

pub(crate) const KEY: &str = "AKIAFAKE";

/// A site whose pool is of a fake EC2's machines.
pub(crate) struct Cloud {
    pub(crate) site: Site,
    pub(crate) fake: FakeEc2,
}

impl Cloud {
    /// Each test has a region of its own: regions share no addresses.
    pub(crate) async fn new(region: &str, warm: u32, limit: u32) -> Self {
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
