//! `TerminateInstances`, `StopInstances`, `StartInstances`: a bad id, or one in
//! a wrong state, fails the whole call.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;

use crate::actions::{answer, show};
use crate::cloud::{Context, Instance, Market, Reason, State};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

/// Termination. Of "TerminateInstances" (docs.aws.amazon.com/AWSEC2/latest/
/// APIReference/API_TerminateInstances.html): idempotent; none of a batch with
/// an incorrect id; a protected instance keeps those of its zone, while those
/// of other zones are terminated though the call fails.
pub(crate) fn terminate_instances(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let instances = named(context, params)?;
    let protected = instances.iter().find(|instance| instance.protected);
    let kept: BTreeSet<&str> = instances
        .iter()
        .filter(|instance| instance.protected)
        .map(|instance| instance.zone.as_str())
        .collect();
    let reason = Reason::user_shutdown(context.now);
    for instance in &instances {
        if !kept.contains(instance.zone.as_str()) {
            context.terminate(&instance.id, reason.clone());
        }
    }
    if let Some(instance) = protected {
        return Err(ApiError::new(
            "OperationNotPermitted",
            format!(
                "The instance '{}' may not be terminated. Modify its 'disableApiTermination' \
                 instance attribute and try again.",
                instance.id
            ),
        ));
    }
    Ok(changes(context, "TerminateInstancesResponse", &instances))
}

pub(crate) fn stop_instances(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let hibernate = params.flag("Hibernate")?.unwrap_or(false);
    let instances = named(context, params)?;
    for instance in &instances {
        check_stop(context, instance, hibernate)?;
    }
    let reason = if hibernate {
        Reason::user_hibernate(context.now)
    } else {
        Reason::user_shutdown(context.now)
    };
    for instance in &instances {
        if instance.state == State::Running {
            context.stop(&instance.id, hibernate, reason.clone());
        }
    }
    Ok(changes(context, "StopInstancesResponse", &instances))
}

fn check_stop(context: &Context<'_>, instance: &Instance, hibernate: bool) -> Result<(), ApiError> {
    let id = &instance.id;
    if !matches!(
        instance.state,
        State::Running | State::Stopping | State::Stopped
    ) {
        return Err(ApiError::new(
            "IncorrectInstanceState",
            format!("This instance '{id}' is not in a state from which it can be stopped."),
        ));
    }
    if instance.market == Market::Spot {
        let persistent = instance
            .spot_request
            .as_ref()
            .and_then(|request| context.region.spot_requests.get(request))
            .is_some_and(|request| request.persistent);
        if !persistent {
            return Err(ApiError::new(
                "UnsupportedOperation",
                format!(
                    "You can't stop the Spot Instance '{id}' because it is associated with a \
                     one-time Spot Instance request. You can only stop Spot Instances associated \
                     with persistent Spot Instance requests."
                ),
            ));
        }
    }
    if hibernate && !instance.hibernation {
        return Err(ApiError::new(
            "UnsupportedHibernationConfiguration",
            format!(
                "The instance '{id}' could not be hibernated because it is not enabled for \
                     hibernation."
            ),
        ));
    }
    let from =
        SignedDuration::try_from(context.timing.hibernation_from).unwrap_or(SignedDuration::ZERO);
    if hibernate && context.now < instance.launched + from {
        return Err(ApiError::new(
            "UnsupportedOperation",
            format!("Instance '{id}' is not ready to hibernate yet, retry in a few minutes."),
        ));
    }
    Ok(())
}

pub(crate) fn start_instances(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let instances = named(context, params)?;
    for instance in &instances {
        if !matches!(
            instance.state,
            State::Running | State::Pending | State::Stopped
        ) {
            return Err(ApiError::new(
                "IncorrectInstanceState",
                format!(
                    "The instance '{}' is not in a state from which it can be started.",
                    instance.id
                ),
            ));
        }
    }
    for instance in &instances {
        if instance.state == State::Stopped {
            context.start(&instance.id)?;
        }
    }
    Ok(changes(context, "StartInstancesResponse", &instances))
}

/// The instances of a call, as they truly are: a change is judged by the
/// truth, though whether the id is known yet is not.
fn named(context: &mut Context<'_>, params: &Params) -> Result<Vec<Arc<Instance>>, ApiError> {
    let ids: BTreeSet<&str> = params.texts("InstanceId").into_iter().collect();
    if ids.is_empty() {
        return Err(ApiError::missing("InstanceId"));
    }
    let ids: Vec<&str> = ids.into_iter().collect();
    context.named_instances(&ids)?;
    Ok(ids
        .iter()
        .filter_map(|id| Some(context.region.instances.get(*id)?.current().clone()))
        .collect())
}

fn changes(context: &Context<'_>, name: &'static str, before: &[Arc<Instance>]) -> Element {
    answer(name).list(
        "instancesSet",
        before.iter().map(|instance| {
            let now = context
                .region
                .instances
                .get(&instance.id)
                .map_or(instance.state, |after| after.current().state);
            Element::new("item")
                .with("instanceId", &instance.id)
                .child(show::state("currentState", now))
                .child(show::state("previousState", instance.state))
        }),
    )
}
