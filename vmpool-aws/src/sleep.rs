//! Putting a machine to sleep, waking it, and what EC2 tells of one that failed.

use std::fmt::Write as _;

use aws_sdk_ec2::Client;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vmpool_core::{MachineId, ProviderError};

use crate::failure::failed;

/// How much of the console's end is told.
const MOST_CONSOLE: usize = 4096;

/// Hibernates a machine.
pub(crate) async fn suspend(client: &Client, id: &MachineId) -> Result<(), ProviderError> {
    let stop = client.stop_instances().instance_ids(id.as_str());
    match stop.hibernate(true).send().await {
        Ok(_) => Ok(()),
        Err(error) => Err(failed(format!("hibernate {id}"), &error)),
    }
}

/// Wakes a hibernated machine.
pub(crate) async fn resume(client: &Client, id: &MachineId) -> Result<(), ProviderError> {
    match client
        .start_instances()
        .instance_ids(id.as_str())
        .send()
        .await
    {
        Ok(_) => Ok(()),
        Err(error) => Err(failed(format!("start {id}"), &error)),
    }
}

/// The state that EC2 has of a machine, why, and the end of its console.
pub(crate) async fn diagnose(client: &Client, id: &MachineId) -> Option<String> {
    let (state, console) = tokio::join!(state(client, id), console(client, id));
    if state.is_none() && console.is_none() {
        return None;
    }
    let mut text = state.unwrap_or_default();
    if let Some(console) = console {
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a String can't fail.
        let _ = write!(text, "{separator}the console's end: {console}");
    }
    Some(text)
}

async fn state(client: &Client, id: &MachineId) -> Option<String> {
    let asked = client.describe_instances().instance_ids(id.as_str());
    let answer = asked.send().await.ok()?;
    let instance = answer.reservations().first()?.instances().first()?;
    let name = instance.state()?.name()?;
    let mut text = format!("EC2 says {name}");
    let reason = instance.state_reason();
    if let Some(reason) = reason.and_then(|reason| reason.message()) {
        let _ = write!(text, ": {reason}");
    }
    Some(text)
}

async fn console(client: &Client, id: &MachineId) -> Option<String> {
    let asked = client.get_console_output().instance_id(id.as_str());
    // The latest output costs nothing more, and only some types refuse it.
    let answer = match asked.clone().latest(true).send().await {
        Ok(answer) => answer,
        Err(_) => asked.send().await.ok()?,
    };
    let bytes = STANDARD.decode(answer.output()?).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end();
    let mut from = text.len().saturating_sub(MOST_CONSOLE);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let text = &text[from..];
    (!text.is_empty()).then(|| text.to_owned())
}
