//! Requests of callers, checked: what can't be honoured is refused with the
//! field's name (P13). Pure.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vmpool_core::runner::SetupRequest;
use vmpool_core::{Limits, PoolName, Secret, StageFile, StageId, StageSetup, Step, StepId};
use vmpool_pipeline::Wanted;
use vmpool_proto::v1;

use super::failure::Failure;

/// Permissions of a file for which the request names none.
const USUAL_MODE: u32 = 0o644;

/// All permission bits that there are.
const MODE_BITS: u32 = 0o7777;

/// The stage that is asked for, and what tells which of the pools of one name
/// is meant.
pub(super) fn acquire(request: v1::AcquireRequest) -> Result<(SetupRequest, Wanted), Failure> {
    let (stage, pool) = (stage(&request.stage_id)?, pool(&request.pool)?);
    let wanted = wanted(request.variant, request.pool);
    let setup = setup(request.setup.unwrap_or_default())?;
    let request = SetupRequest {
        wait: span(request.wait_ms),
        lasts: span(request.lasts_ms),
        zone: zone(request.zone),
        ..SetupRequest::new(pool, stage, setup)
    };
    Ok((request, wanted))
}

/// What tells which of the pools of this name is meant.
pub(super) fn wanted(variant: Option<v1::Variant>, pool: String) -> Wanted {
    let variant = variant.unwrap_or_default();
    Wanted {
        pool,
        account: variant.account,
        free: false,
        resource_class: variant.resource_class,
        nested_virtualization: variant.nested_virtualization,
        image: variant.image,
    }
}

fn zone(zone: String) -> Option<Arc<str>> {
    Some(zone).filter(|zone| !zone.is_empty()).map(Arc::from)
}

fn setup(setup: v1::Setup) -> Result<StageSetup, Failure> {
    for name in setup.env.keys() {
        variable("setup.env", name)?;
    }
    let files = setup.files.into_iter().enumerate();
    let files = files.map(|(n, file)| {
        let field = |name: &str| format!("setup.files[{n}].{name}");
        if file.path.is_empty() {
            return Err(Failure::field(field("path"), "it is empty"));
        }
        if file.mode > MODE_BITS {
            let why = format!("{:o} is more than permission bits", file.mode);
            return Err(Failure::field(field("mode"), why));
        }
        Ok(StageFile {
            path: file.path.into(),
            mode: if file.mode == 0 {
                USUAL_MODE
            } else {
                file.mode
            },
            content: Secret::new(file.content),
        })
    });
    let secrets = setup.secrets.into_iter().filter(|value| !value.is_empty());
    Ok(StageSetup {
        workdir: path(setup.workdir),
        env: setup.env.into_iter().collect(),
        files: files.collect::<Result<_, _>>()?,
        secrets: secrets.map(Secret::new).collect(),
    })
}

/// The step that is asked for, and its stage.
pub(super) fn run(request: v1::RunRequest) -> Result<(StageId, Step), Failure> {
    let (stage, id) = (stage(&request.stage_id)?, step(&request.step_id)?);
    if request.command.first().is_none_or(String::is_empty) {
        return Err(Failure::field("command", "it names no program"));
    }
    for (field, variables) in [("env", &request.env), ("secret_env", &request.secret_env)] {
        for name in variables.keys() {
            variable(field, name)?;
        }
    }
    let secret_env = secrets(request.secret_env);
    let some = |limit: u64| (limit > 0).then_some(limit);
    let step = Step {
        id,
        command: request.command,
        env: request.env.into_iter().collect(),
        secret_env,
        workdir: path(request.workdir),
        user: (!request.user.is_empty()).then_some(request.user),
        timeout: span(request.timeout_ms),
        limits: Limits {
            memory: some(request.memory_bytes),
            processes: some(request.processes),
        },
        returns: None,
    };
    Ok((stage, step))
}

fn secrets(values: HashMap<String, String>) -> std::collections::BTreeMap<String, Secret> {
    let secret = values.into_iter();
    secret
        .map(|(name, value)| (name, Secret::new(value)))
        .collect()
}

pub(super) fn stage(id: &str) -> Result<StageId, Failure> {
    StageId::parse(id).map_err(|error| Failure::field("stage_id", error.to_string()))
}

pub(super) fn step(id: &str) -> Result<StepId, Failure> {
    StepId::parse(id).map_err(|error| Failure::field("step_id", error.to_string()))
}

pub(super) fn pool(name: &str) -> Result<PoolName, Failure> {
    PoolName::parse(name).map_err(|error| Failure::field("pool", error.to_string()))
}

/// A variable of this name can be given to a process. The name may be a secret's,
/// too, and is not shown.
fn variable(field: &str, name: &str) -> Result<(), Failure> {
    if name.is_empty() || name.contains(['=', '\0']) {
        let why = "a variable's name is not empty and has neither `=` nor a zero byte";
        return Err(Failure::field(field, why));
    }
    Ok(())
}

fn span(millis: u64) -> Option<Duration> {
    (millis > 0).then(|| Duration::from_millis(millis))
}

fn path(text: String) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;

    type Spoil = fn(&mut v1::AcquireRequest);

    #[test]
    fn p13_what_can_t_be_honoured_is_refused_with_the_field_s_name() {
        let whole = || v1::AcquireRequest {
            stage_id: "s".to_owned(),
            pool: "linux".to_owned(),
            setup: Some(v1::Setup::default()),
            ..v1::AcquireRequest::default()
        };
        acquire(whole()).expect("it is whole");
        let spoils: [(Spoil, &str); 5] = [
            (|it| it.stage_id.clear(), "stage_id: "),
            (|it| it.pool = "a\nb".to_owned(), "pool: "),
            (|it| it.stage_id = "s".repeat(257), "stage_id: "),
            (
                |it| it.setup.as_mut().unwrap().files.push(v1::File::default()),
                "setup.files[0].path: ",
            ),
            (
                |it| {
                    let env = &mut it.setup.as_mut().unwrap().env;
                    env.insert("A=B".to_owned(), String::new());
                },
                "setup.env: ",
            ),
        ];
        for (spoil, field) in spoils {
            let mut request = whole();
            spoil(&mut request);
            let refused = Status::from(acquire(request).expect_err(field));
            assert!(refused.message().starts_with(field), "{refused:?}");
        }
        let no_command = v1::RunRequest {
            stage_id: "s".to_owned(),
            step_id: "t".to_owned(),
            ..v1::RunRequest::default()
        };
        let refused = Status::from(run(no_command).expect_err("it has no command"));
        assert_eq!(refused.message(), "command: it names no program");
    }
}
