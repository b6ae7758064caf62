//! User data for a Linux with cloud-init and systemd: a cloud-config that arms
//! the boot clock, then brings the agent up as a unit.
//!
//! The boot clock is systemd's own timer and armed before anything is written
//! or downloaded. It ends the machine unless its agent is enrolled by then,
//! which the agent's state directory tells. Every phase is told on the console,
//! which EC2 keeps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lite_engine::supervisor::{Request, RequestError};
use serde_json::{Value, json};
use vmpool_core::OrderDraft;
use vmpool_core::agent::Clocks;

use super::NOT_SHOWN;

const UNIT: &str = include_str!("lite-engine.service");
const GET_AGENT: &str = include_str!("get-agent.sh");
/// What the agent starts from; the only file with a secret.
const REQUEST: &str = "/etc/vmpool/request";
/// The agent's own word that a runner has come with its certificate.
const ENROLLED: &str = "/var/lib/lite-engine/identity/enrolled";

/// How the agent comes up on a Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linux {
    /// Where the agent comes from.
    pub agent: Agent,
    /// Where it listens.
    pub port: u16,
    /// The dead-man's clocks of its machines, where they are not the deployment's.
    pub clocks: Option<Clocks>,
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
        let config = json!({
            "bootcmd": [["cloud-init-per", "once", "vmpool-boot-clock", "sh", "-c", boot_clock(clock)]],
            "write_files": [
                file(REQUEST, "0600", request.expose()),
                file("/usr/local/lib/vmpool/get-agent", "0755", GET_AGENT.as_bytes()),
                file("/etc/systemd/system/lite-engine.service", "0644", self.unit().as_bytes()),
            ],
            "runcmd": [
                self.get_agent(),
                ["systemctl", "daemon-reload"],
                ["systemctl", "enable", "--now", "--no-block", "lite-engine.service"],
            ],
        });
        // JSON is YAML, and needs no writer of its own.
        Ok(format!("#cloud-config\n{config}\n"))
    }

    pub(super) fn identity(&self) -> String {
        let get = self.get_agent().join(" ");
        format!("{GET_AGENT}\n{}\n{get}\n{:?}", self.unit(), self.clocks)
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

fn boot_clock(seconds: u64) -> String {
    format!(
        "systemd-run --unit=vmpool-boot-clock --on-active={seconds} \
         sh -c 'test -e {ENROLLED} || systemctl poweroff'"
    )
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
mod tests {
    use vmpool_core::agent::Bootstrap;
    use vmpool_core::{Attempt, SecretBytes, Tags, Timestamp};

    use super::*;

    #[test]
    fn the_boot_clock_comes_first_and_the_request_reads_back() {
        let tags = Tags {
            owner: "ci".into(),
            deployment: "d".into(),
            pool: "linux".into(),
            order: "o".into(),
            attempt: Attempt(1),
            expires_at: Timestamp(1),
        };
        let bootstrap = Bootstrap {
            order: "o".into(),
            attempt: Attempt(1),
            ca_pem: "pem".into(),
            runner_name: "runner".into(),
            secret: SecretBytes::new(*b"\x00\x01"),
            clocks: Clocks::default(),
        };
        let draft = OrderDraft {
            count: 1,
            tags: &tags,
            bootstrap: &bootstrap,
            avoid: &[],
        };
        let linux = Linux {
            agent: Agent {
                urls: vec!["http://one/agent".into(), "http://two/agent".into()],
                sha256: Some("abc".into()),
            },
            port: 9079,
            clocks: None,
        };
        let text = linux.render(&draft).expect("rendered");
        let json = text
            .strip_prefix("#cloud-config\n")
            .expect("its first line");
        let config: Value = serde_json::from_str(json).expect("JSON");
        let clock = config["bootcmd"][0][5].as_str().expect("a script");
        assert!(clock.contains("--on-active=1800 "), "{clock}");
        let content = config["write_files"][0]["content"]
            .as_str()
            .expect("base64");
        let request = STANDARD.decode(content).expect("base64");
        let request = Request::from_bytes(&SecretBytes::new(request)).expect("a request");
        assert_eq!(request.tags, tags);
        assert_eq!(request.bootstrap.secret, bootstrap.secret);
        assert_eq!(config["write_files"][0]["permissions"], "0600", "P11");
        assert_eq!(config["runcmd"][0][3], "http://two/agent");

        let shown = without_secrets(&text);
        assert!(shown.contains("\"content\": \"<secret>\""), "P11: {shown}");
        assert!(!shown.contains(content), "P11: {shown}");
    }
}
