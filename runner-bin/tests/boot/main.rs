//! A machine that really boots: the real runner, the real SDK, a fake EC2 whose
//! instances are Debian under QEMU, and cloud-init that reads the very user
//! data from a metadata service at EC2's address.
//!
//! It needs an image and a network namespace: `cargo xtask boot` makes both and
//! runs this. Where a part is missing it fails.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_ec2::{
    BootedGuest, Clock, Config, FakeEc2, Instance, MetadataService, Processes, State, Timing,
};
use serde_json::{Value, json};

#[path = "../site/support.rs"]
#[expect(dead_code, reason = "tests of builds need more of it")]
mod support;

use support::{Serving, Site, free_port, setup, step};

/// From a launch until the machine is ready, without KVM and with others on
/// the same cores; and from there until its clock has ended it.
const BOOT: Duration = Duration::from_mins(10);

/// Between two looks at a machine that boots.
const LOOK: Duration = Duration::from_millis(500);

/// Where instances find out who they are.
const METADATA: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254)),
    80,
);

/// What `cargo xtask boot` tells.
fn told(name: &str) -> PathBuf {
    let told = std::env::var_os(name);
    let told = told.unwrap_or_else(|| panic!("{name} is not set: run this by `cargo xtask boot`"));
    told.into()
}

struct Cloud {
    site: Site,
    fake: FakeEc2,
    metadata: Arc<MetadataService>,
}

impl Cloud {
    async fn new() -> Self {
        let site = Site::new(0, 1);
        let disks = site.path().join("disks");
        std::fs::create_dir(&disks).expect("a folder for disks");
        let metadata = MetadataService::start(METADATA).await;
        let metadata = Arc::new(metadata.expect("EC2's address, in a namespace"));
        let guest = BootedGuest {
            image: told("VMPOOL_BOOT_IMAGE"),
            memory: 768,
            port: 9079,
            metadata: Arc::clone(&metadata),
        };
        let config = Config {
            seed: fastrand::u64(..),
            timing: Timing::instant(),
            ..Config::default()
        };
        let machines = Arc::new(Processes::new(disks, Arc::new(guest)));
        let listen = ([127, 0, 0, 1], 0).into();
        let fake = FakeEc2::start(config, Clock::host(), machines, listen).await;
        // Nothing is kept warm: one instance at a time has the metadata service.
        let ami = "resolve:ssm:/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/\
                   ebs-gp3/ami-id";
        let pool = |name: &str, clocks: &str| {
            json!({
                "name": name, "type": "amazon", "pool": 0, "limit": 1,
                "spec": {
                    "account": {"region": "us-east-1"},
                    "ami": ami,
                    "size": "m6i.large",
                    "network": {"private_ip": true, "allow_from": ["10.0.0.0/8"]},
                    "clocks": {"boot": clocks, "idle": "10m", "stage_grace": "10m"},
                    "deadlines": {"booting": "10m"},
                    // There is no network to install it from.
                    "docker": "none",
                    "git": "none",
                },
            })
        };
        let pools = json!({
            "version": "1",
            "instances": [pool("linux", "10m"), pool("forgotten", "20s")],
        });
        site.pool_file(&pools.to_string());
        Self {
            site,
            fake: fake.expect("a fake EC2"),
            metadata,
        }
    }

    async fn serve(&self) -> Serving {
        let program = Path::new(env!("CARGO_BIN_EXE_vmpool"));
        let agents = free_port();
        let mut command = self.site.command(program);
        command
            .env("AWS_ENDPOINT_URL", self.fake.url())
            .env("AMAZON_ACCESS_KEY_ID", "AKIAFAKE")
            .env("AMAZON_ACCESS_KEY_SECRET", "secret")
            .arg("--agents")
            .arg(told("VMPOOL_BOOT_AGENTS"))
            .args(["--agents-listen", &format!("127.0.0.1:{agents}")])
            // As the machine sees this host's loopback.
            .args(["--agents-url", &format!("http://10.0.2.2:{agents}")]);
        self.site.ready(&mut command).await
    }

    /// What is true of the only instance that costs money.
    fn alive(&self) -> Option<String> {
        self.fake.control().with(|cloud, _| {
            let mut instances = cloud.instances();
            let alive = instances.find(|(_, _, instance)| instance.state.counted());
            alive.map(|(_, _, instance)| instance.id.clone())
        })
    }

    fn instance<T>(&self, id: &str, what: impl FnOnce(&Instance) -> T) -> T {
        self.fake.control().with(|cloud, _| {
            let mut instances = cloud.instances();
            let found = instances.find(|(_, _, instance)| instance.id == id);
            let (_, _, instance) = found.expect("an instance is remembered for a while");
            what(instance)
        })
    }

    fn console(&self, id: &str) -> String {
        self.fake.control().with(|cloud, _| {
            let printed = cloud.printed(id);
            String::from_utf8_lossy(printed).into_owned()
        })
    }

    /// Waits so long as a machine may take; a machine that is late is shown.
    async fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + BOOT;
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            assert!(Instant::now() < until, "waited too long for {what}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// `vmpool explain`, as its user reads it.
    fn explain(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_vmpool"))
            .args(["explain", "--state"])
            .arg(self.site.path().join("state"))
            .args(arguments)
            .output()
            .expect("vmpool runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    async fn end(self) {
        self.fake.stop().await;
        self.metadata.stop().await;
    }
}

/// P1, P11: nothing of ours is in the image, what boots is what user data brings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_booted_machine_serves_a_stage_and_a_forgotten_one_powers_itself_off() {
    let cloud = Cloud::new().await;
    let runner = cloud.serve().await;
    let site = &cloud.site;

    // The first boots, enrols, and serves a stage of two steps.
    let begun = Instant::now();
    let request = setup("s");
    let answered = tokio::time::timeout(BOOT, site.insist("/setup", &request)).await;
    let machine = match answered {
        Ok(answered) if answered.status == 200 => answered.machine(),
        _ => {
            let console = cloud.alive().map(|id| cloud.console(&id));
            panic!("{answered:?}: {}", console.unwrap_or_default());
        }
    };
    println!("ready after {:.1?}", begun.elapsed());
    let script = "cat /proc/1/comm; systemctl is-active lite-engine; echo kept > file";
    let expected = json!({"exited": true});
    let first = site.insist("/step", &step("s", "one", script)).await;
    assert_eq!(first.json(), expected, "{}", site.log("s", "one"));
    assert_eq!(site.log("s", "one"), "systemd\nactive\n");
    let second = site.insist("/step", &step("s", "two", "cat file")).await;
    assert_eq!(second.json(), expected, "{}", site.log("s", "two"));
    assert_eq!(site.log("s", "two"), "kept\n");
    site.destroy("s").await;
    cloud
        .wait("the machine's end", || {
            cloud.alive().is_none().then_some(())
        })
        .await;
    println!("{}", cloud.explain(&[&machine]));
    let story: Value = serde_json::from_str(&cloud.explain(&[&machine, "--json"])).expect("JSON");
    let phases = story["phases"].as_array().expect("phases");
    let took = |name: &str| {
        let phase = phases.iter().find(|phase| phase["name"] == name);
        let phase = phase.unwrap_or_else(|| panic!("no phase {name}: {story}"));
        phase["took_ms"].as_u64().expect("milliseconds")
    };
    let parts = ["system", "clock", "cloud-init", "agent", "agent up"];
    let parts = parts.map(|part| took(&format!("boot: {part}")));
    assert!(took("booting") > 0, "{story}");
    assert!(parts[0] > 0 && parts[2] > 0, "{story}");

    // The second is forgotten by its runner while it boots.
    let request = json!({"id": "t", "pool_id": "forgotten", "setup_request": {}});
    let asking = site.post("/setup", &request);
    let launched = cloud.wait("another machine", || cloud.alive());
    let forgotten = tokio::select! {
        answered = asking => panic!("a machine within its launch: {answered:?}"),
        machine = launched => machine,
    };
    let begun = Instant::now();
    runner.kill().await;
    cloud
        .wait("its boot clock", || cloud.alive().is_none().then_some(()))
        .await;
    println!("powered off after {:.1?}", begun.elapsed());
    let console = cloud.console(&forgotten);
    let (state, reason) = cloud.instance(&forgotten, |instance| {
        (instance.state, instance.reason.clone())
    });
    assert_eq!(state, State::Terminated, "{console}");
    let reason = format!("{reason:?}");
    assert!(reason.contains("InstanceInitiatedShutdown"), "{reason}");
    cloud.end().await;
}
