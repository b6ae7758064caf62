//! How a sweep is told. Pure.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp as Moment;
use serde_json::json;

use super::{Report, SweepArgs};
use crate::screen::printable;

/// For a person.
pub(super) fn text(report: &Report, args: &SweepArgs) -> String {
    let mut out = String::new();
    let name = printable(report.owner.as_str());
    let id = report.ours.as_ref().map(|id| format!("id {id}"));
    let id = id.as_deref().unwrap_or("whose id is not known here");
    let _ = writeln!(out, "deployment {name}, {id}");
    for swept in &report.swept {
        let machine = &swept.machine;
        let did = match (&swept.failed, report.act) {
            (Some(why), _) => format!("could not be ended: {}", printable(why)),
            (None, true) => "ends".to_owned(),
            (None, false) => "would be ended".to_owned(),
        };
        let _ = writeln!(
            out,
            "machine {} of pool {}, deployment id {}, expires {}: {did}, because {}",
            printable(machine.id.as_str()),
            printable(machine.pool.as_str()),
            printable(machine.deployment.as_str()),
            moment(machine.expires_at.0),
            machine.why
        );
    }
    if report.swept.is_empty() {
        out.push_str("nothing to end\n");
    } else if !report.act {
        let _ = writeln!(out, "to end them: {}", command(report, args, None));
    }
    for other in &report.others {
        let id = printable(other.deployment.as_str());
        let _ = writeln!(
            out,
            "another deployment of this name, id {id}: {} machines, {} of them expired\n  \
             to end them: {}",
            other.machines,
            other.expired,
            command(report, args, Some(&id))
        );
    }
    out
}

/// The command that ends what was shown.
fn command(report: &Report, args: &SweepArgs, other: Option<&str>) -> String {
    let mut command = format!("vmpool sweep --pool {}", quoted(&args.pool));
    for (option, folder) in [("--state", &args.state), ("--trust", &args.trust)] {
        if let Some(folder) = folder {
            let _ = write!(command, " {option} {}", quoted(folder));
        }
    }
    if args.deployment.is_some() {
        let name = Path::new(report.owner.as_str());
        let _ = write!(command, " --deployment {}", quoted(name));
    }
    let id = other.or(args.deployment_id.as_deref());
    if let Some(id) = id {
        let _ = write!(command, " --deployment-id {}", quoted(Path::new(id)));
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

fn moment(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).map(Moment::from_millisecond);
    match moment {
        Ok(Ok(moment)) => format!("{moment:.0}"),
        _ => "never".to_owned(),
    }
}

/// For a program.
pub(super) fn json(report: &Report) -> String {
    let machines: Vec<_> = report
        .swept
        .iter()
        .map(|swept| {
            json!({
                "id": swept.machine.id,
                "pool": swept.machine.pool,
                "deployment_id": swept.machine.deployment,
                "expires_at_unix_ms": swept.machine.expires_at,
                "why": swept.machine.why.to_string(),
                "failed": swept.failed,
            })
        })
        .collect();
    let others: Vec<_> = report
        .others
        .iter()
        .map(|other| {
            json!({
                "deployment_id": other.deployment,
                "machines": other.machines,
                "expired": other.expired,
            })
        })
        .collect();
    let whole = json!({
        "owner": report.owner,
        "deployment_id": report.ours,
        "ended": report.act,
        "machines": machines,
        "others": others,
        "troubles": report.troubles,
    });
    format!("{whole}\n")
}
