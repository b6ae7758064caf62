//! How a step's commands run.

use crate::support::Project;

#[test]
fn commands_share_a_shell_that_ends_at_the_first_failure() {
    let project = Project::with_steps(
        "- name: shell\n  commands:\n  - X=1\n  - cd /\n  - echo \"$X $PWD\"\n  - 'false'\n  - echo never\n",
    );
    let ran = project.exec(&[]).ended_with(1).says("failed: exit code 1");
    assert_eq!(
        ran.log_of("shell"),
        "+ X=1\n+ cd /\n+ echo \"$X $PWD\"\n1 /\n+ false\n"
    );
}

#[test]
fn steps_share_the_workspace_and_begin_in_it() {
    let project = Project::with_steps(
        "- name: write\n  commands: [echo kept > file, cd /]\n\
         - name: read\n  commands: [cat file, '[ \"$PWD\" = \"$DRONE_WORKSPACE\" ] && echo same']\n",
    );
    project
        .exec(&[])
        .ended_with(0)
        .says("read  | kept")
        .says("read  | same");
}

#[test]
fn an_entrypoint_runs_the_commands() {
    let project = Project::with_steps(
        "- name: bash\n  entrypoint: [/bin/bash]\n  commands: ['echo ${#BASH_VERSION[@]} ${BASH_VERSION:+bash}']\n\
         - name: flags\n  entrypoint: [/bin/bash, -c]\n  commands: ['[[ $0 == */scripts/1 ]] && echo matched']\n\
         - name: python\n  entrypoint: [python3, -c]\n  commands: []\n",
    );
    project.write(
        ".vmpool.yml",
        "kind: pipeline\nname: test\nsteps:\n\
         - name: bash\n  entrypoint: [/bin/bash]\n  commands: ['[[ a == a ]] && echo matched']\n\
         - name: flags\n  entrypoint: [/bin/bash, -ec]\n  commands: ['[[ b == b ]] && echo matched']\n",
    );
    project
        .exec(&[])
        .ended_with(0)
        .says("bash  | matched")
        .says("flags | matched");
}

#[test]
fn a_very_long_script_runs() {
    let long = "y".repeat(200_000);
    let project = Project::with_steps(&format!(
        "- name: long\n  commands: ['X={long}', 'echo $${{#X}}']\n"
    ));
    project.exec(&[]).ended_with(0).says("long  | 200000");
}

#[test]
fn a_user_that_does_not_exist_is_named() {
    let project = Project::with_steps("- name: a\n  user: nobody-of-this-name\n  commands: [id]\n");
    project.exec(&[]).ended_with(1).says("nobody-of-this-name");
}
