//! Pipeline files: Drone's YAML and `.vmpool.yml`, read into a checked plan.
//!
//! Pure: text in, data out; whoever runs the pipeline brings the machines.
//!
//! | to | use |
//! |---|---|
//! | read a file | [`parse()`]: a [`File`] of [`Pipeline`]s, or every mistake with its place |
//! | know who runs, and in which order | [`Schedule`], from [`Facts`] about the build |
//! | run a step's commands | [`script()`], one shell script |
//! | give the steps their environment | [`build_variables`], [`stage_variables`], [`step_variables`] |
//! | read a runner's pool file | [`parse_pool_file`] |
//!
//! `.vmpool.yml` is Drone's format and `timeout` on pipelines and steps (`90s`,
//! `10m`, `1h30m`). What it does not know it refuses; a Drone file's unknown
//! keys are warnings, since Drone passes over them. Keys of a pipeline that
//! begin with `x-` are the author's own in both.
//!
//! ```
//! use vmpool_pipeline::{Choice, Dialect, Facts, Outcome, Schedule, Variables, parse, script};
//!
//! let text = "
//! kind: pipeline
//! steps:
//! - name: build
//!   commands: [make]
//! - name: publish
//!   commands: [make publish]
//!   when: {branch: main}
//! ";
//! let parsed = parse(".vmpool.yml", text, Dialect::Vmpool, &Variables::new())?;
//! let pipeline = &parsed.file.pipelines[0];
//! assert!(script(&pipeline.steps[0].commands).starts_with("set -e\n"));
//!
//! let facts = Facts { event: "push".into(), branch: "topic".into(), ..Facts::default() };
//! let mut schedule = Schedule::of_steps(pipeline, &facts, &Choice::default())?;
//! assert_eq!(schedule.ready(), [0]);
//! schedule.finished(0, Outcome::Succeeded);
//! assert!(schedule.ready().is_empty()); // `branch topic is not in [main]`
//! assert!(schedule.is_done());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod check;
mod convert;
mod diagnostic;
mod duration;
mod fields;
mod graph;
mod keys;
mod model;
mod parse;
mod pool_file;
mod script;
mod substitute;
mod variables;
mod version;
mod when;
mod yaml;

pub use diagnostic::{Diagnostic, Place, Rejected};
pub use duration::{DurationError, parse_duration};
pub use graph::{Choice, OrderError, Outcome, Schedule, State, Task};
pub use model::{
    Clone, EnvValue, Failure, File, Mount, PassedOver, Pipeline, PipelineType, Platform, Pull,
    ScalarKind, Setting, Step, Volume, VolumeSource, Workspace,
};
pub use parse::{Dialect, Parsed, parse};
pub use pool_file::{
    AmazonAccount, AmazonDisk, AmazonMarket, AmazonNetwork, AmazonPresence, AmazonSpec,
    AmazonUserData, LocalSpec, PoolDeadlines, PoolFile, PoolPlatform, PoolSpec, Source, StaticKeys,
    Tenant, Timing, Variant, Wanted, ZoneSpec, parse_pool_file, pool_file_reference,
    pool_file_schema,
};
pub use script::script;
pub use substitute::Variables;
pub use variables::{
    Build, Commit, Failed, Repo, Stage, build_variables, stage_variables, step_variables,
};
pub use when::{Conditions, Constraint, Facts, Pattern, PatternError, RunsOn};
