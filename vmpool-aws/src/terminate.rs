//! Ending machines, many at once.

use aws_sdk_ec2::Client;
use aws_sdk_ec2::operation::terminate_instances::TerminateInstancesOutput;
use aws_sdk_ec2::types::InstanceStateName;
use vmpool_core::{ErrorKind, MachineId, ProviderError, Terminating};

use crate::failure::failed;

/// Most instances one call may end: EC2 takes 1 000, and asks for small batches.
const BATCH: usize = 100;

/// Ends the machines. One id that EC2 does not know, or may not end, fails a
/// whole call of EC2's: each of that batch is then ended by itself.
///
/// # Errors
/// The last failure; all others were tried nevertheless, unless EC2 throttles.
pub(crate) async fn terminate(
    client: &Client,
    ids: &[MachineId],
) -> Result<Terminating, ProviderError> {
    let mut done = Terminating::default();
    let mut worst = None;
    for batch in ids.chunks(BATCH) {
        match call(client, batch).await {
            Ok(gone) => done.gone.extend(gone),
            Err(error) if batch.len() > 1 && is_of_one(error.kind) => {
                for id in batch {
                    match call(client, std::slice::from_ref(id)).await {
                        Ok(gone) => done.gone.extend(gone),
                        Err(error) if error.kind == ErrorKind::NotFound => {}
                        Err(error) => worst = Some(error),
                    }
                }
            }
            Err(error) if error.kind == ErrorKind::NotFound => {}
            // The further batches would be refused too, and held against us.
            Err(error) if is_throttled(error.kind) => return Err(error),
            Err(error) => worst = Some(error),
        }
    }
    worst.map_or(Ok(done), Err)
}

/// A refusal that one id of a batch may have caused, for all of it.
fn is_of_one(kind: ErrorKind) -> bool {
    !is_throttled(kind) && kind != ErrorKind::Transient
}

fn is_throttled(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Throttled { .. })
}

async fn call(client: &Client, ids: &[MachineId]) -> Result<Vec<MachineId>, ProviderError> {
    let texts = ids.iter().map(ToString::to_string).collect();
    let sent = client
        .terminate_instances()
        .set_instance_ids(Some(texts))
        .send()
        .await;
    match sent {
        Ok(answer) => Ok(gone(&answer)),
        Err(error) => {
            let attempted = match ids {
                [id] => format!("terminate {id}"),
                _ => format!("terminate {} machines", ids.len()),
            };
            Err(failed(attempted, &error))
        }
    }
}

fn gone(answer: &TerminateInstancesOutput) -> Vec<MachineId> {
    answer
        .terminating_instances()
        .iter()
        .filter(|change| {
            let now = change.current_state().and_then(|state| state.name());
            now == Some(&InstanceStateName::Terminated)
        })
        .filter_map(|change| Some(change.instance_id()?.into()))
        .collect()
}
