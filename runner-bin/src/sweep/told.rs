//! How a sweep is told. Pure.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;
use vmpool_proto::v1::{SweepMachine, SweepOther, SweepResponse};

use super::SweepArgs;
use crate::screen::{printable, when};

/// For a person.
pub(super) fn text(swept: &SweepResponse, args: &SweepArgs) -> String {
    let mut out = String::new();
    let name = printable(&swept.owner);
    let id = if swept.deployment_id.is_empty() {
        "whose id is not known here".to_owned()
    } else {
        format!("id {}", printable(&swept.deployment_id))
    };
    let _ = writeln!(out, "deployment {name}, {id}");
    for machine in &swept.ended {
        let did = match (machine.failed.as_str(), swept.acted) {
            ("", true) => "ends".to_owned(),
            ("", false) => "would be ended".to_owned(),
            (why, _) => format!("could not be ended: {}", printable(why)),
        };
        let _ = writeln!(
            out,
            "machine {} of pool {}, deployment id {}, expires {}: {did}, because {}",
            printable(&machine.id),
            printable(&machine.pool),
            printable(&machine.deployment_id),
            when(machine.expires_at_unix_ms, 0),
            printable(&machine.why)
        );
    }
    if swept.ended.is_empty() {
        out.push_str("nothing to end\n");
    } else if !swept.acted {
        let _ = writeln!(out, "to end them: {}", command(args, None));
    }
    for other in &swept.others {
        let id = printable(&other.deployment_id);
        let machines = match other.machines {
            1 => "1 machine".to_owned(),
            machines => format!("{machines} machines"),
        };
        let _ = writeln!(
            out,
            "another deployment of this name, id {id}: {machines}, {} of them expired\n  to end them: {}",
            other.expired,
            command(args, Some(&id))
        );
    }
    out
}

/// The command that ends what was shown.
fn command(args: &SweepArgs, other: Option<&str>) -> String {
    let mut command = "vmpool sweep".to_owned();
    let paths = [
        ("--pool", &args.pool),
        ("--state", &args.state),
        ("--trust", &args.trust),
    ];
    for (option, path) in paths {
        if let Some(path) = path {
            let _ = write!(command, " {option} {}", quoted(path));
        }
    }
    let id = other.or(args.deployment_id.as_deref());
    let words = [
        ("--runner", args.runner.as_deref()),
        ("--deployment", args.deployment.as_deref()),
        ("--deployment-id", id),
    ];
    for (option, word) in words {
        if let Some(word) = word {
            let _ = write!(command, " {option} {}", quoted(Path::new(word)));
        }
    }
    command.push_str(" --yes");
    command
}

/// As a shell takes it for one word.
fn quoted(word: &Path) -> String {
    let word = printable(&word.to_string_lossy());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// For a program.
pub(super) fn json(swept: &SweepResponse) -> String {
    let or_null = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let machine = |machine: &SweepMachine| {
        json!({
            "id": machine.id,
            "pool": machine.pool,
            "deployment_id": machine.deployment_id,
            "expires_at_unix_ms": machine.expires_at_unix_ms,
            "why": machine.why,
            "failed": or_null(&machine.failed),
        })
    };
    let other = |other: &SweepOther| {
        json!({
            "deployment_id": other.deployment_id,
            "machines": other.machines,
            "expired": other.expired,
        })
    };
    let whole = json!({
        "owner": swept.owner,
        "deployment_id": or_null(&swept.deployment_id),
        "ended": swept.acted,
        "machines": swept.ended.iter().map(machine).collect::<Vec<_>>(),
        "others": swept.others.iter().map(other).collect::<Vec<_>>(),
        "troubles": swept.troubles,
    });
    format!("{whole}\n")
}
