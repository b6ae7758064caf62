//! Instances as processes: they start with what they were given, print to their
//! console, and leave nothing behind.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fake_ec2::{
    AgentGuest, Birth, Call, Clock, Config, FakeEc2, Guest, GuestError, Params, Processes, State,
};
use lite_engine::supervisor::Census;
use tempfile::TempDir;
use tokio::process::Command;
use vmpool_core::MachineId;

/// A guest that runs a script.
struct Script(&'static str);

impl Guest for Script {
    fn program(&self, birth: &Birth, disk: &Path) -> Result<Command, GuestError> {
        let mut program = Command::new("sh");
        program
            .args(["-c", self.0])
            .env("ADDRESS", birth.private_address.to_string())
            .env("DISK", disk);
        Ok(program)
    }
}

struct Host {
    fake: FakeEc2,
    disks: TempDir,
}

impl Host {
    async fn new(guest: impl Guest) -> Self {
        let disks = TempDir::new().unwrap();
        let machines = Processes::new(disks.path(), Arc::new(guest));
        let listen = ([127, 0, 0, 1], 0).into();
        // Instances of the same seed have the same ids, by which processes are found.
        let config = Config {
            seed: fastrand::u64(..),
            ..Config::default()
        };
        let fake = FakeEc2::start(config, Clock::host(), Arc::new(machines), listen);
        Self {
            fake: fake.await.unwrap(),
            disks,
        }
    }

    fn call(&self, action: &str, pairs: &[(&str, &str)]) -> fake_ec2::Element {
        let mut params = Params::from_pairs(pairs.iter().copied()).unwrap();
        params.set("Action", action.to_owned()).unwrap();
        let call = Call {
            access_key: "any".to_owned(),
            region: "us-east-1".to_owned(),
            params,
        };
        self.fake
            .control()
            .with(|cloud, now| cloud.apply(now, &call))
            .result
            .unwrap()
    }

    fn launch(&self, user_data: &str) -> String {
        let image = self.fake.control().with(|cloud, _| {
            let images = &cloud.config().catalog.images;
            images[0].id("us-east-1")
        });
        let answer = self.call(
            "RunInstances",
            &[
                ("ImageId", &image),
                ("InstanceType", "m6i.large"),
                ("MinCount", "1"),
                ("MaxCount", "1"),
                ("UserData", &STANDARD.encode(user_data)),
                ("InstanceInitiatedShutdownBehavior", "terminate"),
            ],
        );
        let id = answer.text_at("instancesSet/item/instanceId");
        id.unwrap().to_owned()
    }

    fn disk(&self, instance: &str) -> PathBuf {
        self.disks.path().join(instance)
    }

    fn console(&self, instance: &str) -> String {
        let answer = self.call("GetConsoleOutput", &[("InstanceId", instance)]);
        let output = answer.text_at("output").unwrap_or_default();
        String::from_utf8(STANDARD.decode(output).unwrap()).unwrap()
    }

    fn state(&self, instance: &str) -> State {
        self.fake.control().with(|cloud, _| {
            let found = cloud.instances().find(|(_, _, one)| one.id == instance);
            found.unwrap().2.state
        })
    }

    async fn prints(&self, instance: &str, text: &str) {
        until(&format!("{text} on the console"), || {
            self.console(instance).contains(text)
        })
        .await;
    }
}

/// Whether a process of an instance lives.
fn lives(instance: &str) -> bool {
    let machine = MachineId::parse(instance).unwrap();
    Census::take().unwrap().has(&machine)
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let wait = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .unwrap_or_else(|_| panic!("{what} within a minute"));
}

#[tokio::test]
async fn a_terminated_instance_leaves_neither_processes_nor_a_disk() {
    let host = Host::new(Script(
        "sleep 1000 & setsid sleep 1000 & echo up at $ADDRESS; wait",
    ))
    .await;
    let id = host.launch("");
    host.prints(&id, "up at 127.1.").await;
    assert!(lives(&id));
    host.call("TerminateInstances", &[("InstanceId.1", &id)]);
    let disk = host.disk(&id);
    until("its processes end", || !lives(&id)).await;
    until("its disk goes", || !disk.exists()).await;
    assert_eq!(host.state(&id), State::Terminated);
    host.fake.stop().await;
}

#[tokio::test]
async fn a_program_that_ends_well_is_a_power_off_and_one_that_fails_is_not() {
    let host = Host::new(Script("exec sh \"$DISK/../code\"")).await;
    let code = host.disks.path().join("code");
    fs::write(&code, "exit 0").unwrap();
    let ends = host.launch("");
    until("it terminates", || host.state(&ends) == State::Terminated).await;
    fs::write(&code, "exit 3").unwrap();
    let stays = host.launch("");
    host.prints(&stays, "exit status: 3").await;
    assert_eq!(host.state(&stays), State::Running);
    host.fake.stop().await;
}

#[tokio::test]
async fn a_stopped_instance_keeps_its_disk_and_the_end_of_all_ends_it() {
    let host = Host::new(Script("echo boot >> $DISK/boots; echo up; exec sleep 1000")).await;
    let id = host.launch("");
    host.prints(&id, "up").await;
    host.call("StopInstances", &[("InstanceId.1", &id)]);
    until("its processes end", || !lives(&id)).await;
    until("it is stopped", || host.state(&id) == State::Stopped).await;
    host.call("StartInstances", &[("InstanceId.1", &id)]);
    let boots = host.disk(&id).join("boots");
    until("it boots again", || {
        fs::read_to_string(&boots).is_ok_and(|boots| boots == "boot\nboot\n")
    })
    .await;
    host.fake.stop().await;
    assert!(!lives(&id));
}

#[tokio::test]
async fn an_agent_is_started_by_the_very_user_data() {
    let folder = TempDir::new().unwrap();
    let (script, agent) = (folder.path().join("script"), folder.path().join("agent"));
    fs::write(
        &script,
        "#!/bin/sh\necho \"$@\"; cat \"$5\"; exec sleep 1000\n",
    )
    .unwrap();
    // Written by another process: a file that what another test starts has open
    // for writing can't be run.
    let mut installer = std::process::Command::new("install");
    let installed = installer.args([&script, &agent]).status();
    assert!(installed.unwrap().success());
    let host = Host::new(AgentGuest { agent, port: 9079 }).await;
    let secret = STANDARD.encode("certificate, secret and clocks");
    let id = host.launch(&format!(
        "#cloud-config\nwrite_files:\n- path: /run/vmpool/request\n  permissions: '0600'\n  \
         encoding: b64\n  content: {secret}\n"
    ));
    host.prints(&id, "certificate, secret and clocks").await;
    let console = host.console(&id);
    assert!(console.contains(&format!("--machine {id}")), "{console}");
    assert!(console.contains("--listen 127.1."), "{console}");
    host.fake.stop().await;
}

#[tokio::test]
async fn user_data_that_cannot_be_read_is_told_on_the_console() {
    let agent = AgentGuest {
        agent: "/nonexistent".into(),
        port: 9079,
    };
    let host = Host::new(agent).await;
    for (data, says) in [
        ("#!/bin/sh", "does not begin with #cloud-config"),
        ("#cloud-config\n{}", "places neither a file named request"),
    ] {
        let id = host.launch(data);
        host.prints(&id, says).await;
        assert_eq!(host.state(&id), State::Running);
    }
    host.fake.stop().await;
}
