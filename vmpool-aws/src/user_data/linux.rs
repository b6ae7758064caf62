//! User data for a Linux with cloud-init and systemd: a cloud-config that arms
//! the boot clock, brings the agent up as a unit, then what else the machine
//! needs, all of that at once.
//!
//! The boot clock is systemd's own timer and armed before anything is written
//! or downloaded. It ends the machine unless its agent is enrolled by then,
//! which the agent's state directory tells. Every phase is told to the agent
//! (`/run/vmpool/start`, see `lite_engine::start_up`), which is not ready before
//! they are over, and on the console, which EC2 keeps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lite_engine::supervisor::{Request, RequestError};
use serde_json::{Value, json};
use vmpool_core::OrderDraft;
use vmpool_core::agent::Clocks;

use super::NOT_SHOWN;

const UNIT: &str = include_str!("lite-engine.service");
const BOOT_CLOCK: &str = include_str!("boot-clock.sh");
const TELL: &str = include_str!("tell.sh");
const GET_AGENT: &str = include_str!("get-agent.sh");
/// What the agent starts from; the only file with a secret.
const REQUEST: &str = "/etc/vmpool/request";
const EXTRAS: &str = include_str!("extras.sh");

/// How the agent comes up on a Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linux {
    /// Where the agent comes from.
    pub agent: Agent,
    /// Where it listens.
    pub port: u16,
    /// The dead-man's clocks of its machines, where they are not the deployment's.
    pub clocks: Option<Clocks>,
    /// What else must be there, or have been tried, before the machine is ready.
    pub extras: Vec<Extra>,
}

/// Something that a machine needs beside its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extra {
    /// Docker, running; without it the machine does not get ready.
    Docker {
        /// Install it where the image lacks it.
        install: bool,
    },
    /// Git; without it the machine does not get ready.
    Git {
        /// Install it where the image lacks it.
        install: bool,
    },
    /// A program that some steps call, and builds get along without.
    Companion {
        /// What it is told as.
        name: String,
        /// Where it belongs.
        file: String,
        /// Addresses of the program, tried in turn.
        urls: Vec<String>,
    },
}

impl Extra {
    fn name(&self) -> &str {
        match self {
            Self::Docker { .. } => "docker",
            Self::Git { .. } => "git",
            Self::Companion { name, .. } => name,
        }
    }

    /// As `extras.sh` reads it.
    fn line(&self) -> String {
        match self {
            Self::Docker { install } | Self::Git { install } => {
                let how = if *install { "install" } else { "require" };
                format!("{} {how}", self.name())
            }
            Self::Companion { name, file, urls } => format!("{name} {file} {}", urls.join(" ")),
        }
    }
}

/// Where an agent comes from that the image lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agent {
    /// Addresses of the program, tried in turn.
    pub urls: Vec<String>,
    /// SHA-256 in hex; what has another is not run. `None`: anything is.
    pub sha256: Option<String>,
}

impl Linux {
    pub(super) fn render(&self, draft: &OrderDraft<'_>) -> Result<String, RequestError> {
        let mut bootstrap = draft.bootstrap.clone();
        bootstrap.clocks = self.clocks.unwrap_or(bootstrap.clocks);
        let clock = bootstrap.clocks.boot.as_secs().max(1);
        let request = Request {
            tags: draft.tags.clone(),
            bootstrap,
            program: None,
        };
        let request = request.to_bytes()?;
        let mut files = vec![
            file(REQUEST, "0600", request.expose()),
            file("/usr/local/lib/vmpool/tell", "0644", TELL.as_bytes()),
            file(
                "/usr/local/lib/vmpool/get-agent",
                "0755",
                GET_AGENT.as_bytes(),
            ),
            file(
                "/etc/systemd/system/lite-engine.service",
                "0644",
                self.unit().as_bytes(),
            ),
        ];
        let mut commands = vec![
            json!(self.get_agent()),
            json!(["systemctl", "daemon-reload"]),
            json!([
                "systemctl",
                "enable",
                "--now",
                "--no-block",
                "lite-engine.service"
            ]),
        ];
        if !self.extras.is_empty() {
            files.push(file("/etc/vmpool/extras", "0644", self.extras().as_bytes()));
            files.push(file(
                "/usr/local/lib/vmpool/extras",
                "0755",
                EXTRAS.as_bytes(),
            ));
            commands.push(json!(["/usr/local/lib/vmpool/extras"]));
        }
        let config = json!({
            "bootcmd": [self.boot_clock(clock)],
            "write_files": files,
            "runcmd": commands,
        });
        // JSON is YAML, and needs no writer of its own.
        Ok(format!("#cloud-config\n{config}\n"))
    }

    pub(super) fn identity(&self) -> String {
        let get = self.get_agent().join(" ");
        let scripts = [BOOT_CLOCK, TELL, GET_AGENT, EXTRAS].concat();
        let (unit, extras, clocks) = (self.unit(), self.extras(), self.clocks);
        format!("{scripts}\n{unit}\n{get}\n{extras}\n{clocks:?}")
    }

    fn extras(&self) -> String {
        let lines = self.extras.iter().map(Extra::line);
        lines.map(|line| line + "\n").collect()
    }

    fn boot_clock(&self, seconds: u64) -> Vec<String> {
        let once = ["cloud-init-per", "once", "vmpool-boot-clock"];
        let script = ["sh", "-c", BOOT_CLOCK, "sh"];
        let awaited = self.extras.iter().map(Extra::name);
        let words = once.into_iter().chain(script).map(str::to_owned);
        words
            .chain([seconds.to_string()])
            .chain(awaited.map(str::to_owned))
            .collect()
    }

    fn unit(&self) -> String {
        UNIT.replace("PORT", &self.port.to_string())
    }

    fn get_agent(&self) -> Vec<String> {
        let checksum = self.agent.sha256.clone().unwrap_or_default();
        let command = ["/usr/local/lib/vmpool/get-agent".to_owned(), checksum];
        command
            .into_iter()
            .chain(self.agent.urls.iter().cloned())
            .collect()
    }
}

/// The same with a mark in the place of the file that holds the secret.
pub(super) fn without_secrets(text: &str) -> String {
    let (first, config) = text.split_once('\n').unwrap_or_default();
    let Ok(mut config) = serde_json::from_str::<Value>(config) else {
        return NOT_SHOWN.to_owned();
    };
    let files = config["write_files"].as_array_mut();
    for file in files.into_iter().flatten() {
        if file["path"] == REQUEST {
            file["content"] = NOT_SHOWN.into();
            file["encoding"] = "text/plain".into();
        }
    }
    format!("{first}\n{config:#}\n")
}

fn file(path: &str, mode: &str, content: &[u8]) -> Value {
    json!({
        "path": path,
        "permissions": mode,
        "encoding": "b64",
        "content": STANDARD.encode(content),
    })
}

#[cfg(test)]
mod tests;
