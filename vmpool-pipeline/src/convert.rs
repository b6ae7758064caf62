//! The node tree to the model: one function a part of the format, each a table
//! of its keys. Which keys there are is in [`keys`](crate::keys).

use std::collections::BTreeMap;

use crate::check::{self, Declared, Dependency};
use crate::diagnostic::{did_you_mean, nearest, quoted};
use crate::fields::{At, Reader};
use crate::keys::{
    CLONE, CONDITIONS, CONSTRAINT, EVENTS, HOST, MOUNT, OTHER_SOURCES, PIPELINE, PLATFORM, POOL,
    SECRET, STATUSES, STEP, VOLUME, WORKSPACE,
};
use crate::model::{
    Clone, EnvValue, Failure, Mount, Pipeline, PipelineType, Platform, Pull, Setting, Step, Volume,
    VolumeSource, Workspace,
};
use crate::when::{Conditions, Constraint, Pattern};
use crate::yaml::{Entry, Value};

/// A document of `kind: pipeline`, and what it declares.
pub(crate) fn pipeline(
    r: &mut Reader,
    at: &At<'_>,
    pipeline_type: Option<PipelineType>,
) -> Option<(Pipeline, Declared)> {
    let f = r.fields(at, &PIPELINE)?;
    let mut declared = Vec::new();
    let mut tasks = |r: &mut Reader, at: &At<'_>, read: ReadTask| {
        let (tasks, names): (Vec<_>, Vec<_>) = r
            .items(at, "a list of steps")?
            .iter()
            .filter_map(|at| read(r, at))
            .unzip();
        declared.extend(names);
        Some(tasks)
    };
    let services = f.read(r, "services", |r, at| tasks(r, at, service));
    let steps = f
        .require(r, "steps", |r, at| tasks(r, at, step))
        .unwrap_or_default();
    check::check(&mut r.report, "step", &declared, &[check::CLONE]);
    if steps.is_empty() && f.has("steps") && r.report.errors.is_empty() {
        r.error(at, "the pipeline has no steps");
    }
    let depends_on = f.read(r, "depends_on", dependencies).unwrap_or_default();
    let name = f.read(r, "name", Reader::name);
    let pipeline = Pipeline {
        name: name.unwrap_or_else(|| "default".into()),
        pipeline_type,
        platform: f.read(r, "platform", platform).unwrap_or_default(),
        pool: f.read(r, "pool", pool),
        workspace: f.read(r, "workspace", workspace).unwrap_or_default(),
        environment: f.read(r, "environment", environment).unwrap_or_default(),
        clone: f.read(r, "clone", clone).unwrap_or_default(),
        trigger: f.read(r, "trigger", conditions).unwrap_or_default(),
        services: services.unwrap_or_default(),
        volumes: f.read(r, "volumes", volumes).unwrap_or_default(),
        steps,
        depends_on: check::names(&depends_on),
        timeout: f.read_own(r, "timeout", Reader::duration),
        place: at.node.place,
    };
    let declared = Declared::new(&pipeline.name, at, depends_on);
    Some((pipeline, declared))
}

type ReadTask = fn(&mut Reader, &At<'_>) -> Option<(Step, Declared)>;

fn service(r: &mut Reader, at: &At<'_>) -> Option<(Step, Declared)> {
    let (mut service, declared) = task(r, at)?;
    service.detach = true;
    Some((service, declared))
}

fn step(r: &mut Reader, at: &At<'_>) -> Option<(Step, Declared)> {
    let errors = r.report.errors.len();
    let (step, declared) = task(r, at)?;
    let is_sound = r.report.errors.len() == errors;
    if is_sound && step.image.is_none() && step.commands.is_empty() {
        r.error(
            at,
            "the step has nothing to run: it needs `commands` or an `image`",
        );
    }
    Some((step, declared))
}

fn task(r: &mut Reader, at: &At<'_>) -> Option<(Step, Declared)> {
    let f = r.fields(at, &STEP)?;
    let depends_on = f.read(r, "depends_on", dependencies).unwrap_or_default();
    let step = Step {
        name: f.require(r, "name", Reader::name).unwrap_or_default(),
        image: f.read(r, "image", Reader::text),
        pull: f.read(r, "pull", pull).unwrap_or_default(),
        commands: f.read(r, "commands", Reader::texts).unwrap_or_default(),
        settings: f.read(r, "settings", settings).unwrap_or_default(),
        environment: f.read(r, "environment", environment).unwrap_or_default(),
        depends_on: check::names(&depends_on),
        detach: f.read(r, "detach", Reader::flag).unwrap_or_default(),
        entrypoint: f.read(r, "entrypoint", Reader::texts).unwrap_or_default(),
        command: f.read(r, "command", Reader::texts).unwrap_or_default(),
        user: f.read(r, "user", Reader::text),
        failure: f.read(r, "failure", failure).unwrap_or_default(),
        when: f.read(r, "when", conditions).unwrap_or_default(),
        timeout: f.read_own(r, "timeout", Reader::duration),
        volumes: f.read(r, "volumes", mounts).unwrap_or_default(),
        privileged: f.read(r, "privileged", Reader::flag).unwrap_or_default(),
        place: at.node.place,
    };
    let declared = Declared::new(&step.name, at, depends_on);
    Some((step, declared))
}

/// The names in a `depends_on`, each with its place.
pub(crate) fn dependencies(r: &mut Reader, at: &At<'_>) -> Option<Vec<Dependency>> {
    let items = r.items(at, "a list of names")?;
    let dependency = |r: &mut Reader, at: &At<'_>| {
        let name = r.text(at)?;
        Some(Dependency {
            name,
            place: at.node.place,
            path: at.path.clone(),
        })
    };
    items.iter().map(|at| dependency(r, at)).collect()
}

fn platform(r: &mut Reader, at: &At<'_>) -> Option<Platform> {
    let f = r.fields(at, &PLATFORM)?;
    Some(Platform {
        os: f.read(r, "os", Reader::text),
        arch: f.read(r, "arch", Reader::text),
        variant: f.read(r, "variant", Reader::text),
        version: f.read(r, "version", Reader::text),
    })
}

fn pool(r: &mut Reader, at: &At<'_>) -> Option<String> {
    let f = r.fields(at, &POOL)?;
    f.require(r, "use", Reader::name)
}

fn workspace(r: &mut Reader, at: &At<'_>) -> Option<Workspace> {
    let f = r.fields(at, &WORKSPACE)?;
    Some(Workspace {
        base: f.read(r, "base", Reader::text),
        path: f.read(r, "path", Reader::text),
    })
}

fn clone(r: &mut Reader, at: &At<'_>) -> Option<Clone> {
    let f = r.fields(at, &CLONE)?;
    Some(Clone {
        disable: f.read(r, "disable", Reader::flag).unwrap_or_default(),
        // Drone takes 0 for the whole history.
        depth: f
            .read(r, "depth", Reader::number)
            .filter(|&depth| depth > 0),
    })
}

fn pull(r: &mut Reader, at: &At<'_>) -> Option<Pull> {
    let policy = r.text(at)?;
    Some(match policy.as_str() {
        "always" | "true" => Pull::Always,
        "if-not-exists" => Pull::IfNotExists,
        "never" => Pull::Never,
        "default" | "false" => Pull::Default,
        _ => {
            let known = "`always`, `if-not-exists` or `never`";
            r.object(at, format!("expected {known}, found {}", quoted(&policy)));
            Pull::Default
        }
    })
}

fn failure(r: &mut Reader, at: &At<'_>) -> Option<Failure> {
    let failure = r.text(at)?;
    Some(match failure.as_str() {
        "ignore" => Failure::Ignore,
        "always" => Failure::Always,
        _ => {
            r.object(
                at,
                format!("expected `ignore` or `always`, found {}", quoted(&failure)),
            );
            Failure::Always
        }
    })
}

fn environment(r: &mut Reader, at: &At<'_>) -> Option<BTreeMap<String, EnvValue>> {
    let entries = r.entries(at, "a map of variables")?;
    let variable = |r: &mut Reader, name: &str, at: &At<'_>| {
        if name.is_empty() || name.contains(['=', '\0']) {
            r.error(at, "a variable's name can't be empty or have `=` in it");
        }
        match &at.node.value {
            Value::Null => Some(EnvValue::Plain(String::new())),
            Value::Map(_) => secret(r, at).map(EnvValue::FromSecret),
            _ => r.text(at).map(EnvValue::Plain),
        }
    };
    entries
        .iter()
        .map(|(entry, at)| Some((entry.key.clone(), variable(r, &entry.key, at)?)))
        .collect()
}

fn secret(r: &mut Reader, at: &At<'_>) -> Option<String> {
    let f = r.fields(at, &SECRET)?;
    f.require(r, "from_secret", Reader::text)
}

fn settings(r: &mut Reader, at: &At<'_>) -> Option<BTreeMap<String, Setting>> {
    let entries = r.entries(at, "a map of settings")?;
    entries
        .iter()
        .map(|(entry, at)| Some((entry.key.clone(), setting(r, at)?)))
        .collect()
}

fn setting(r: &mut Reader, at: &At<'_>) -> Option<Setting> {
    Some(match &at.node.value {
        Value::Null => Setting::Null,
        Value::Scalar(kind, _) => Setting::Scalar(*kind, r.text(at)?),
        Value::List(_) => {
            let items = r.items(at, "a list")?;
            Setting::List(
                items
                    .iter()
                    .map(|at| setting(r, at))
                    .collect::<Option<_>>()?,
            )
        }
        Value::Map(entries) if matches!(&entries[..], [entry] if entry.key == "from_secret") => {
            Setting::FromSecret(secret(r, at)?)
        }
        Value::Map(entries) => {
            if let [Entry { key, key_place, .. }] = &entries[..]
                && let Some(meant) = nearest(key, SECRET.known.iter().copied())
            {
                let meant = did_you_mean(Some(meant));
                let message = format!("{} is read as a setting{meant}", quoted(key));
                r.report.warn(*key_place, &at.path, message);
            }
            Setting::Map(settings(r, at)?)
        }
    })
}

fn conditions(r: &mut Reader, at: &At<'_>) -> Option<Conditions> {
    let f = r.fields(at, &CONDITIONS)?;
    let mut on = |key: &str, values: &[&str]| {
        f.read(r, key, |r, at| constraint(r, at, values))
            .unwrap_or_default()
    };
    Some(Conditions {
        event: on("event", EVENTS),
        branch: on("branch", &[]),
        reference: on("ref", &[]),
        repo: on("repo", &[]),
        instance: on("instance", &[]),
        target: on("target", &[]),
        cron: on("cron", &[]),
        status: on("status", STATUSES),
    })
}

/// A condition; `values` are all that it can be asked about, where that is known.
fn constraint(r: &mut Reader, at: &At<'_>, values: &[&str]) -> Option<Constraint> {
    if !matches!(at.node.value, Value::Map(_)) {
        let include = patterns(r, at, values)?;
        return Some(Constraint {
            include,
            exclude: Vec::new(),
        });
    }
    let f = r.fields(at, &CONSTRAINT)?;
    let mut list = |key| {
        f.read(r, key, |r, at| patterns(r, at, values))
            .unwrap_or_default()
    };
    Some(Constraint {
        include: list("include"),
        exclude: list("exclude"),
    })
}

/// One pattern, or a list of them.
fn patterns(r: &mut Reader, at: &At<'_>, values: &[&str]) -> Option<Vec<Pattern>> {
    match at.node.value {
        Value::Scalar(..) => Some(vec![pattern(r, at, values)?]),
        _ => r
            .items(at, "a pattern or a list of them")?
            .iter()
            .map(|at| pattern(r, at, values))
            .collect(),
    }
}

fn pattern(r: &mut Reader, at: &At<'_>, values: &[&str]) -> Option<Pattern> {
    let text = r.text(at)?;
    let pattern = match Pattern::new(&text) {
        Ok(pattern) => pattern,
        Err(error) => {
            r.error(at, format!("{} is no pattern: {error}", quoted(&text)));
            return None;
        }
    };
    if !values.is_empty() && !values.iter().any(|value| pattern.matches(value)) {
        let meant = did_you_mean(nearest(&text, values.iter().copied()));
        r.object(at, format!("{} never occurs{meant}", quoted(&text)));
    }
    Some(pattern)
}

fn volumes(r: &mut Reader, at: &At<'_>) -> Option<Vec<Volume>> {
    let items = r.items(at, "a list of volumes")?;
    items.iter().map(|at| volume(r, at)).collect()
}

fn volume(r: &mut Reader, at: &At<'_>) -> Option<Volume> {
    let f = r.fields(at, &VOLUME)?;
    let name = f.require(r, "name", Reader::name);
    let other = OTHER_SOURCES.into_iter().find(|key| f.has(key));
    let source = if f.get("host").is_some() {
        VolumeSource::Host(f.read(r, "host", host)?)
    } else if f.has("temp") {
        VolumeSource::Temp
    } else if let Some(other) = other {
        VolumeSource::Other(other.into())
    } else {
        r.error(at, "expected `temp` or `host`");
        return None;
    };
    Some(Volume {
        name: name?,
        source,
    })
}

fn host(r: &mut Reader, at: &At<'_>) -> Option<String> {
    let f = r.fields(at, &HOST)?;
    f.require(r, "path", Reader::text)
}

fn mounts(r: &mut Reader, at: &At<'_>) -> Option<Vec<Mount>> {
    let items = r.items(at, "a list of `name` and `path`")?;
    items.iter().map(|at| mount(r, at)).collect()
}

fn mount(r: &mut Reader, at: &At<'_>) -> Option<Mount> {
    let f = r.fields(at, &MOUNT)?;
    let name = f.require(r, "name", Reader::name);
    let path = f.require(r, "path", Reader::text);
    Some(Mount {
        name: name?,
        path: path?,
    })
}
