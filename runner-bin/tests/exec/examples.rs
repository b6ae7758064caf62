//! The pipelines under `examples/`, and this repository's own check.

use std::path::{Path, PathBuf};

use crate::support::{Project, Running};

fn of_repository(path: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("a workspace").join(path)
}

#[test]
fn the_readme_s_pipeline_shows_each_step_s_output_the_summary_and_the_acquisition() {
    let project = Project::with_steps("- name: unused\n  commands: [true]\n");
    let file = of_repository("examples/pipelines/hello.yml");
    project
        .exec(&[&file.to_string_lossy()])
        .ended_with(0)
        .says("greet | Hello, world!")
        .says("look: failed, ignored: exit code 1")
        .says("part  | Goodbye, world!")
        .says("RESULT")
        .says("acquired in");
}

#[test]
fn the_fan_s_service_runs_while_it_is_needed() {
    let project = Project::with_steps("- name: unused\n  commands: [true]\n");
    let file = of_repository("examples/pipelines/fan.yml");
    project.exec(&[&file.to_string_lossy()]).ended_with(0);
}

#[test]
fn the_c_project_is_built_and_tested_in_a_copy_of_it() {
    let project = Project::with_steps("- name: unused\n  commands: [true]\n");
    let mut command = project.vmpool(&["exec"]);
    command.current_dir(of_repository("examples/pipelines/c-project"));
    Running::start(command)
        .end()
        .ended_with(0)
        .says("test: succeeded");
    project.wait_until_nothing_is_left();
}

#[test]
fn this_repository_s_own_check_is_a_valid_pipeline() {
    let project = Project::with_steps("- name: unused\n  commands: [true]\n");
    let file = of_repository(".vmpool.yml");
    let command = project.vmpool(&["validate", &file.to_string_lossy()]);
    Running::start(command).end().ended_with(0);
}
