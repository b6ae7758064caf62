//! What files say, what is wrong with them in which words, and that no text
//! whatever makes the parser panic. (P13: bad input gets a clear error that
//! names field and place.)

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::model::{EnvValue, Failure, Mount, Pull, ScalarKind, Setting, Volume, VolumeSource};

fn drone(text: &str) -> Result<Parsed, Rejected> {
    parse(".drone.yml", text, Dialect::Drone, &Variables::new())
}

fn vmpool(text: &str) -> Result<Parsed, Rejected> {
    parse(".vmpool.yml", text, Dialect::Vmpool, &Variables::new())
}

/// The only pipeline of a file in which there is nothing to notice.
fn pipeline(text: &str) -> Pipeline {
    let mut parsed = vmpool(text).unwrap();
    assert_eq!(parsed.warnings, []);
    assert_eq!(parsed.file.pipelines.len(), 1);
    parsed.file.pipelines.remove(0)
}

fn listed(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Errors of a file of ours.
fn errors(text: &str) -> String {
    listed(&vmpool(text).unwrap_err().errors)
}

/// Errors of our file whose pipeline has the given step.
fn step_errors(step: &str) -> String {
    errors(&format!(
        "kind: pipeline\nsteps:\n- name: a\n  {}\n",
        step.replace('\n', "\n  ")
    ))
}

/// Warnings of a Drone file.
fn warnings(text: &str) -> String {
    listed(&drone(text).unwrap().warnings)
}

const FULL: &str = r#"
kind: pipeline
type: vm
name: full
platform: {os: linux, arch: amd64, variant: v1, version: 22.04}
pool: {use: ubuntu}
workspace: {base: /go, path: src}
environment:
  GO111MODULE: on
  YES: yes
  ARCH: 386
  ONE: 1
  FLOAT: 1.10
  HEX: 0x1f
  EMPTY:
  TILDE: ~
  QUOTED: "true"
  TOKEN: {from_secret: token}
clone: {disable: false, depth: 50}
trigger:
  branch: main
  event: [push, tag]
  ref: {include: [refs/heads/**], exclude: refs/heads/x}
  status: {exclude: [failure]}
services:
- name: db
  image: postgres:16
  pull: if-not-exists
  environment: {POSTGRES_DB: test}
  entrypoint: [/bin/db]
  command: [--fast, 1]
volumes:
- {name: cache, host: {path: /cache}}
- {name: scratch, temp: {}}
- {name: other, temp: }
steps:
- name: build
  commands:
  - make
  - true
  - |
    echo one
    echo two
  timeout: 90s
- name: image
  image: plugins/docker
  pull: always
  settings:
    tags: [latest, 1.0]
    dry_run: true
    password: {from_secret: password}
    labels: {a: b}
    none: ~
  depends_on: [build, clone]
  detach: true
  user: root
  failure: ignore
  privileged: yes
  volumes: [{name: cache, path: /c}]
  when: {status: [failure]}
depends_on: []
timeout: 1h30m
"#;

#[test]
fn all_that_is_understood_reaches_the_model() {
    let p = pipeline(FULL);
    assert_eq!(
        (p.name.as_str(), p.pipeline_type),
        ("full", Some(PipelineType::Vm))
    );
    assert_eq!(p.platform.version.as_deref(), Some("22.04"));
    assert_eq!(p.pool.as_deref(), Some("ubuntu"));
    assert_eq!(p.workspace.path.as_deref(), Some("src"));
    assert_eq!((p.clone.disable, p.clone.depth), (false, Some(50)));
    assert_eq!(p.timeout, Some(Duration::from_mins(90)));
    assert!(p.trigger.reference.matches("refs/heads/a/b"));
    assert!(!p.trigger.reference.matches("refs/heads/x"));
    assert!(p.trigger.runs_on().success);
    for (name, written) in [
        ("GO111MODULE", "on"),
        ("YES", "yes"),
        ("ARCH", "386"),
        ("ONE", "1"),
        ("FLOAT", "1.10"),
        ("HEX", "0x1f"),
        ("EMPTY", ""),
        ("TILDE", ""),
        ("QUOTED", "true"),
    ] {
        assert_eq!(
            p.environment[name],
            EnvValue::Plain(written.into()),
            "{name}"
        );
    }
    assert_eq!(p.environment["TOKEN"], EnvValue::FromSecret("token".into()));
    let sources: Vec<_> = p
        .volumes
        .into_iter()
        .map(|Volume { source, .. }| source)
        .collect();
    let host = VolumeSource::Host("/cache".into());
    assert_eq!(sources, [host, VolumeSource::Temp, VolumeSource::Temp]);

    let db = &p.services[0];
    assert!(db.detach);
    assert_eq!(
        (db.image.as_deref(), db.pull),
        (Some("postgres:16"), Pull::IfNotExists)
    );
    assert_eq!(
        (&db.entrypoint[..], &db.command[..]),
        (&["/bin/db".into()][..], &["--fast".into(), "1".into()][..])
    );

    let [build, image] = &p.steps[..] else {
        panic!("two steps")
    };
    assert_eq!(build.commands, ["make", "true", "echo one\necho two\n"]);
    assert_eq!(build.timeout, Some(Duration::from_secs(90)));
    assert_eq!(build.place.line, 37);
    assert_eq!(image.depends_on, ["build", "clone"]);
    assert_eq!((image.detach, image.privileged), (true, true));
    assert_eq!(
        (image.failure, image.user.as_deref()),
        (Failure::Ignore, Some("root"))
    );
    assert_eq!(
        image.volumes,
        [Mount {
            name: "cache".into(),
            path: "/c".into()
        }]
    );
    assert!(image.when.runs_on().failure);
    let text = |text: &str| Setting::Scalar(ScalarKind::Text, text.into());
    let number = Setting::Scalar(ScalarKind::Number, "1.0".into());
    assert_eq!(
        image.settings["tags"],
        Setting::List(vec![text("latest"), number])
    );
    assert_eq!(
        image.settings["dry_run"],
        Setting::Scalar(ScalarKind::Bool, "true".into())
    );
    assert_eq!(
        image.settings["password"],
        Setting::FromSecret("password".into())
    );
    assert_eq!(
        image.settings["labels"],
        Setting::Map([("a".into(), text("b"))].into())
    );
    assert_eq!(image.settings["none"], Setting::Null);
}

#[test]
fn anchors_and_merge_keys_make_steps() {
    let p = pipeline(
        "kind: pipeline\nsteps:\n- &test\n  name: a\n  environment: &env {A: 1}\n  commands: [make]\n\
         - <<: *test\n  name: b\n- <<: *test\n  name: c\n  environment: {<<: *env, B: 2}\n",
    );
    let names: Vec<_> = p.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(p.steps[1].commands, ["make"]);
    assert_eq!(p.steps[2].environment.len(), 2);
}

#[test]
fn keys_of_the_authors_own_may_hold_anchors() {
    let p = pipeline(
        "kind: pipeline\nx-make: &make {commands: [make]}\nsteps:\n- {name: a, <<: *make}\n",
    );
    assert_eq!(p.steps[0].commands, ["make"]);
    insta::assert_snapshot!(step_errors("commands: [x]\nx-a: 1"), @".vmpool.yml:5:3: steps[0]: unknown key `x-a`");
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_field_and_place() {
    insta::assert_snapshot!(step_errors("commands: 12"), @".vmpool.yml:4:13: steps[0].commands: expected a list of strings, found a number");
    insta::assert_snapshot!(step_errors("commands: make"), @".vmpool.yml:4:13: steps[0].commands: expected a list of strings, found a string");
    insta::assert_snapshot!(step_errors("commands:\n- echo done: yes"), @".vmpool.yml:5:5: steps[0].commands[0]: expected a string, found a map; a text that has a colon and a space in it must be quoted");
    insta::assert_snapshot!(step_errors("commands: [[a]]"), @".vmpool.yml:4:14: steps[0].commands[0]: expected a string, found a list");
    insta::assert_snapshot!(step_errors("commands: [x]\nenvironment: [A=1]"), @".vmpool.yml:5:16: steps[0].environment: expected a map of variables, found a list");
    insta::assert_snapshot!(step_errors("commands: [x]\nenvironment: {A: [1]}"), @".vmpool.yml:5:20: steps[0].environment.A: expected a string, found a list");
    insta::assert_snapshot!(step_errors("commands: [x]\nenvironment: {A: {secret: b}}"), @r"
    .vmpool.yml:5:20: steps[0].environment.A: `from_secret` is missing
    .vmpool.yml:5:21: steps[0].environment.A: unknown key `secret`
    ");
    insta::assert_snapshot!(step_errors("commands: [x]\nenvironment: {'A=B': 1}"), @".vmpool.yml:5:24: steps[0].environment.A=B: a variable's name can't be empty or have `=` in it");
    insta::assert_snapshot!(step_errors("commands: [\"a\\0b\"]"), @".vmpool.yml:4:14: steps[0].commands[0]: a text can't hold the character NUL");
    insta::assert_snapshot!(step_errors("commands: [x]\ndetach: maybe"), @".vmpool.yml:5:11: steps[0].detach: expected true or false, found `maybe`");
    insta::assert_snapshot!(step_errors("commands: [x]\nfailure: sometimes"), @".vmpool.yml:5:12: steps[0].failure: expected `ignore` or `always`, found `sometimes`");
    insta::assert_snapshot!(step_errors("commands: [x]\npull: daily"), @".vmpool.yml:5:9: steps[0].pull: expected `always`, `if-not-exists` or `never`, found `daily`");
    insta::assert_snapshot!(step_errors("commands: [x]\ntimeout: 90"), @".vmpool.yml:5:12: steps[0].timeout: a duration needs a unit, like `90s`, `10m` or `1h30m`, found `90`");
    insta::assert_snapshot!(step_errors("commands: [x]\ntimeout: soon"), @".vmpool.yml:5:12: steps[0].timeout: expected a duration like `90s`, `10m` or `1h30m`, found `soon`");
    insta::assert_snapshot!(step_errors("commands: [x]\nvolumes: ['/a:/b']"), @".vmpool.yml:5:13: steps[0].volumes[0]: expected a map, found a string");
    insta::assert_snapshot!(step_errors("commands: [x]\nwhen: [push]"), @".vmpool.yml:5:9: steps[0].when: expected a map, found a list");
    insta::assert_snapshot!(step_errors("commands: [x]\nwhen: {event: pull-request}"), @".vmpool.yml:5:17: steps[0].when.event: `pull-request` never occurs, did you mean `pull_request`?");
    insta::assert_snapshot!(step_errors("commands: [x]\nwhen: {branch: '[a'}"), @".vmpool.yml:5:18: steps[0].when.branch: `[a` is no pattern: unclosed character class; missing ']'");
    insta::assert_snapshot!(step_errors("commands: [x]\nwhen: {branch: {includes: a}}"), @".vmpool.yml:5:19: steps[0].when.branch: unknown key `includes`, did you mean `include`?");
    insta::assert_snapshot!(step_errors("environment: {}"), @".vmpool.yml:3:3: steps[0]: the step has nothing to run: it needs `commands` or an `image`");
    insta::assert_snapshot!(errors("kind: pipeline\nclone: {depth: -1}\nplatform: linux/amd64\nsteps: {}\n"), @r"
    .vmpool.yml:2:16: clone.depth: expected a whole number, found `-1`
    .vmpool.yml:3:11: platform: expected a map, found a string
    .vmpool.yml:4:8: steps: expected a list of steps, found a map
    ");
    insta::assert_snapshot!(errors("kind: pipeline\nvolumes: [{name: a}]\nsteps:\n- commands: [x]\n- name: ''\n  commands: [x]\n"), @r"
    .vmpool.yml:2:11: volumes[0]: expected `temp` or `host`
    .vmpool.yml:4:3: steps[0]: `name` is missing
    .vmpool.yml:5:9: steps[1].name: a name can't be empty
    ");
}

#[test]
fn a_key_that_nobody_knows_is_an_error_in_ours_and_a_warning_in_drones() {
    let text = "kind: pipeline\nwhen: {event: push}\nsteps:\n- name: a\n  comands: [x]\n  image: y\n  enviroment: {}\n  zzz: 1\n";
    insta::assert_snapshot!(errors(text), @r"
    .vmpool.yml:2:1: unknown key `when`, did you mean `trigger`?
    .vmpool.yml:5:3: steps[0]: unknown key `comands`, did you mean `commands`?
    .vmpool.yml:7:3: steps[0]: unknown key `enviroment`, did you mean `environment`?
    .vmpool.yml:8:3: steps[0]: unknown key `zzz`
    ");
    insta::assert_snapshot!(warnings(text), @r"
    .drone.yml:2:1: unknown key `when`, did you mean `trigger`?
    .drone.yml:5:3: steps[0]: unknown key `comands`, did you mean `commands`?
    .drone.yml:7:3: steps[0]: unknown key `enviroment`, did you mean `environment`?
    .drone.yml:8:3: steps[0]: unknown key `zzz`
    ");
}

#[test]
fn a_known_key_without_effect_is_named() {
    let text = "kind: pipeline\nnode: {a: b}\nconcurrency: {limit: 1}\ntimeout: 60\nclone: {retries: 3}\n\
        steps:\n- name: a\n  image: y\n  network_mode: host\n  timeout: 1m\n  when: {paths: [a]}\n";
    insta::assert_snapshot!(warnings(text), @r"
    .drone.yml:2:1: `node` has no effect here
    .drone.yml:3:1: `concurrency` has no effect here
    .drone.yml:4:1: `timeout` has an effect only in .vmpool.yml
    .drone.yml:5:9: clone: `retries` has no effect here
    .drone.yml:9:3: steps[0]: `network_mode` has no effect here
    .drone.yml:10:3: steps[0]: `timeout` has an effect only in .vmpool.yml
    .drone.yml:11:10: steps[0].when: `paths` has no effect here
    ");
    assert_eq!(drone(text).unwrap().file.pipelines[0].timeout, None);
    let ours = "kind: pipeline\nnode: {a: b}\nsteps: [{name: a, commands: [x]}]\n";
    insta::assert_snapshot!(listed(&vmpool(ours).unwrap().warnings), @".vmpool.yml:2:1: `node` has no effect here");
}

#[test]
fn a_secret_that_is_misspelt_among_the_settings_is_noticed() {
    let text =
        "kind: pipeline\nsteps:\n- name: a\n  image: b\n  settings: {token: {form_secret: c}}\n";
    insta::assert_snapshot!(warnings(text), @".drone.yml:5:22: steps[0].settings.token: `form_secret` is read as a setting, did you mean `from_secret`?");
}

#[test]
fn lines_may_end_as_on_windows() {
    let text = FULL.replace('\n', "\r\n");
    assert_eq!(pipeline(&text).steps[0].commands[2], "echo one\necho two\n");
    assert_eq!(pipeline(&text), pipeline(FULL));
}

#[test]
fn names_and_dependencies_are_checked() {
    let steps = |steps: &str| errors(&format!("kind: pipeline\nsteps:\n{steps}"));
    insta::assert_snapshot!(steps("- {name: a, commands: [x]}\n- {name: a, commands: [x]}\n"), @".vmpool.yml:4:3: steps[1].name: the step `a` is there twice, first in line 3");
    insta::assert_snapshot!(steps("- {name: build, commands: [x]}\n- {name: b, commands: [x], depends_on: [biuld]}\n"), @".vmpool.yml:4:41: steps[1].depends_on[0]: there is no step `biuld`, did you mean `build`?");
    insta::assert_snapshot!(steps("- {name: a, commands: [x], depends_on: [c]}\n- {name: b, commands: [x], depends_on: [a]}\n- {name: c, commands: [x], depends_on: [b]}\n"), @".vmpool.yml:3:3: steps[0].depends_on: the steps wait for each other: `a` after `c` after `b` after `a`");
    insta::assert_snapshot!(steps("- {name: a, commands: [x], depends_on: [a]}\n"), @".vmpool.yml:3:3: steps[0].depends_on: the steps wait for each other: `a` after `a`");
    let one = |name: &str, on: &str| {
        format!(
            "---\nkind: pipeline\nname: {name}\nsteps: [{{name: s, commands: [x]}}]\ndepends_on: [{on}]\n"
        )
    };
    insta::assert_snapshot!(errors(&(one("a", "") + &one("a", ""))), @".vmpool.yml:7:1: name: the pipeline `a` is there twice, first in line 2");
    insta::assert_snapshot!(errors(&(one("a", "b") + &one("b", "a"))), @".vmpool.yml:2:1: depends_on: the pipelines wait for each other: `a` after `b` after `a`");
    insta::assert_snapshot!(errors(&one("a", "b")), @".vmpool.yml:5:14: depends_on[0]: there is no pipeline `b`");
}

#[test]
fn other_documents_are_passed_over_and_named() {
    let text = "kind: secret\nname: token\ndata: x\n---\nkind: pipeline\nsteps: [{name: a, commands: [x]}]\n---\nkind: signature\nhmac: abc\n";
    let parsed = drone(text).unwrap();
    assert_eq!(parsed.warnings, []);
    let passed: Vec<_> = parsed
        .file
        .passed_over
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(passed, ["secret `token`", "signature"]);
    assert_eq!(parsed.file.passed_over[1].place.line, 8);
    insta::assert_snapshot!(warnings("kind: pipelines\n---\nkind: pipeline\nsteps: [{name: a, commands: [x]}]\n"), @".drone.yml:1:1: unknown kind `pipelines`, did you mean `pipeline`?");
}

#[test]
fn pipelines_of_other_types_are_passed_over_and_their_dependents_wait_for_whom_they_waited() {
    let text = "kind: pipeline\nname: a\nsteps: [{name: s, commands: [x]}]\n\
        ---\nkind: pipeline\ntype: kubernetes\nname: b\nsteps: [{nonsense: 1}]\ndepends_on: [a]\n\
        ---\nkind: pipeline\nname: c\nsteps: [{name: s, commands: [x]}]\ndepends_on: [b, a]\n";
    let parsed = drone(text).unwrap();
    insta::assert_snapshot!(listed(&parsed.warnings), @".drone.yml:5:1: a pipeline of type `kubernetes` is not run here, only vm, aws, exec and docker");
    assert_eq!(
        parsed.file.passed_over[0].to_string(),
        "pipeline `b` of type `kubernetes`"
    );
    assert_eq!(parsed.file.pipelines[1].depends_on, ["a"]);
}

#[test]
fn a_file_without_a_pipeline_is_refused() {
    insta::assert_snapshot!(errors(""), @".vmpool.yml: the file has no pipeline");
    insta::assert_snapshot!(errors("# nothing\n"), @".vmpool.yml: the file has no pipeline");
    insta::assert_snapshot!(errors("just text\n"), @".vmpool.yml:1:1: expected a map with `kind: pipeline`, found a string");
    insta::assert_snapshot!(errors("kind: secret\nname: a\n"), @".vmpool.yml: the file has no pipeline that is run here, only: secret `a`");
    insta::assert_snapshot!(errors("kind: pipeline\ntype: ssh\n"), @".vmpool.yml: the file has no pipeline that is run here, only: pipeline `default` of type `ssh`");
    insta::assert_snapshot!(errors("kind: [pipeline]\n"), @".vmpool.yml:1:7: kind: expected a string, found a list");
    insta::assert_snapshot!(errors("name: a\n"), @".vmpool.yml:1:1: `kind` is missing");
    insta::assert_snapshot!(errors("pipeline:\n  build:\n    image: golang\n"), @".vmpool.yml:1:1: this is the format of Drone 0.8; `drone convert` makes the present one of it");
    insta::assert_snapshot!(errors("steps: [{name: a, commands: [x]}]\n"), @".vmpool.yml:1:1: `kind: pipeline` is missing");
    insta::assert_snapshot!(warnings("steps: [{name: a, commands: [x]}]\n"), @".drone.yml:1:1: `kind: pipeline` is missing");
    insta::assert_snapshot!(errors("kind: pipeline\n"), @".vmpool.yml:1:1: `steps` is missing");
    insta::assert_snapshot!(errors("kind: pipeline\nsteps: []\n"), @".vmpool.yml:1:1: the pipeline has no steps");
    insta::assert_snapshot!(errors("kind: pipelin\nsteps: []\n"), @".vmpool.yml:1:1: unknown kind `pipelin`, did you mean `pipeline`?");
}

#[test]
fn programs_that_generate_files_are_refused() {
    for (name, language) in [(".drone.jsonnet", "Jsonnet"), (".drone.star", "Starlark")] {
        let refused = parse(name, "def main(ctx):", Dialect::Drone, &Variables::new()).unwrap_err();
        let message =
            format!("{name}: {language} is a program, not YAML; give the YAML that it generates");
        assert_eq!(refused.to_string(), message);
    }
}

#[test]
fn a_key_that_is_there_twice_is_an_error_in_ours_and_a_warning_in_drones() {
    let text = "kind: pipeline\nsteps:\n- name: a\n  commands: [x]\n  commands: [y]\n";
    insta::assert_snapshot!(errors(text), @".vmpool.yml:5:3: the key `commands` is there twice");
    insta::assert_snapshot!(warnings(text), @".drone.yml:5:3: the key `commands` is there twice; the last one counts");
    assert_eq!(
        drone(text).unwrap().file.pipelines[0].steps[0].commands,
        ["y"]
    );
}

#[test]
fn the_builds_variables_and_those_of_the_stage_are_put_in() {
    let text = "kind: pipeline\nname: arm\nplatform: {arch: arm64}\nclone: {depth: ${DEPTH}}\nsteps:\n\
        - name: a\n  image: x:${DRONE_TAG##v}-${DRONE_STAGE_ARCH}\n  settings: {tags: [${DRONE_TAG}, ${DRONE_STAGE_NAME}]}\n\
        \x20 commands: [\"echo $${SHELL} $HOME $$\"]\n";
    let variables: Variables = [("DRONE_TAG", "v1.2"), ("DEPTH", "3")]
        .map(|(name, value)| (name.into(), value.into()))
        .into();
    let parsed = parse("f", text, Dialect::Drone, &variables).unwrap();
    assert_eq!(parsed.warnings, []);
    let step = &parsed.file.pipelines[0].steps[0];
    assert_eq!(step.image.as_deref(), Some("x:1.2-arm64"));
    assert_eq!(step.commands, ["echo ${SHELL} $HOME $"]);
    let text = |text: &str| Setting::Scalar(ScalarKind::Text, text.into());
    assert_eq!(
        step.settings["tags"],
        Setting::List(vec![text("v1.2"), text("arm")])
    );
    assert_eq!(parsed.file.pipelines[0].clone.depth, Some(3));
}

#[test]
fn a_yaml_error_shows_the_file_and_not_our_marks() {
    insta::assert_snapshot!(errors("kind: pipeline\n'${DRONE_TAG}': 1\n'${DRONE_TAG}': 2\n"), @r"
    .vmpool.yml:1:1: `steps` is missing
    .vmpool.yml:2:1: unknown key ``
    .vmpool.yml:3:1: unknown key ``
    ");
    insta::assert_snapshot!(errors("kind: pipeline\nsteps: [${A}\n"), @".vmpool.yml:2:8: unclosed bracket '['");
}

#[test]
fn all_mistakes_are_found_in_one_go_and_in_their_order() {
    let text = "kind: pipeline\nsteps:\n- name: a\n  comands: [x]\n- name: b\n  commands: 1\n---\nkind: pipeline\nname: x\nstep: []\n";
    insta::assert_snapshot!(errors(text), @r"
    .vmpool.yml:4:3: steps[0]: unknown key `comands`, did you mean `commands`?
    .vmpool.yml:6:13: steps[1].commands: expected a list of strings, found a number
    .vmpool.yml:8:1: `steps` is missing
    .vmpool.yml:10:1: unknown key `step`, did you mean `steps`?
    ");
    let rejected = vmpool(text).unwrap_err();
    assert_eq!(rejected.to_string(), listed(&rejected.errors));
}

#[test]
fn the_dialect_is_known_by_the_name() {
    for (name, dialect) in [
        (".vmpool.yml", Dialect::Vmpool),
        ("/a/b/.vmpool.yaml", Dialect::Vmpool),
        ("ci/nightly.vmpool.yml", Dialect::Vmpool),
        (".drone.yml", Dialect::Drone),
        ("vmpool.yml", Dialect::Drone),
        ("", Dialect::Drone),
    ] {
        assert_eq!(Dialect::of(name), dialect, "{name}");
    }
}

#[test]
fn a_hostile_file_is_refused_and_soon() {
    let large = format!("kind: pipeline\nname: {}\n", "x".repeat(yaml::MAX_BYTES));
    insta::assert_snapshot!(errors(&large), @".vmpool.yml: the file is larger than 1 MiB");
    let marks = "${A}".repeat(20_000);
    insta::assert_snapshot!(errors(&marks), @".vmpool.yml: the file has too many substitutions");
    // Many steps that depend on each other, each twice wrong.
    let one = |n| {
        format!(
            "- {{name: s{n}, x: 1, depends_on: [s{}, q]}}\n",
            (n + 1) % 8_000
        )
    };
    let many = (0..8_000).map(one).collect::<Vec<_>>().concat();
    let refused = vmpool(&format!("kind: pipeline\nsteps:\n{many}")).unwrap_err();
    assert!(!refused.errors.is_empty() && refused.errors.len() <= 100);
}

#[test]
fn control_characters_of_the_file_do_not_reach_the_terminal() {
    for text in [
        "kind: pipeline\nsteps:\n- name: \"a\\e[2J\"\n  \"x\\e[2J\": 1\n",
        "${A\u{1b}[2J}: 1\n${A\u{1b}[2J}: 2\n",
        "kind: pipeline\nsteps: [${A:?\u{1b}[2J}]\n",
    ] {
        for line in errors(text).lines() {
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

/// Lines that pipeline files are made of, some of them wrong.
fn any_line() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "kind: pipeline",
        "kind:",
        "type: docker",
        "type: [",
        "name: a",
        "name: &a b",
        "steps:",
        "- name: a",
        "- name: *a",
        "  commands:",
        "  - echo ${A:-${B}}",
        "  - ${",
        "  image: x",
        "  depends_on: [a, b]",
        "  depends_on: a",
        "---",
        "...",
        "<<: *a",
        "environment: {A: 1, B: {from_secret: c}}",
        "  when: {branch: {include: '['}}",
        "services: *a",
        "volumes: [{name: a, temp: }]",
        "trigger:",
        "  status: [failure]",
        "timeout: 10m",
        "clone: {depth: 1e9}",
        "  settings: &s {a: [*s]}",
        "? [a]",
        ": b",
        "\t",
        "'",
        "\"",
        "- ",
        "# ${x",
    ]);
    (0..4_usize, words).prop_map(|(indent, words)| format!("{}{words}\n", "  ".repeat(indent)))
}

/// What holds of any answer.
fn check_answer(text: &str, dialect: Dialect) -> Result<(), TestCaseError> {
    let variables: Variables = [("A".to_owned(), "x: [\n".to_owned())].into();
    match parse("f", text, dialect, &variables) {
        Ok(parsed) => {
            prop_assert!(!parsed.file.pipelines.is_empty());
            let facts = crate::Facts::default();
            let choice = crate::Choice::default();
            crate::Schedule::of_pipelines(&parsed.file, &facts, &choice).unwrap();
            for pipeline in &parsed.file.pipelines {
                prop_assert!(!pipeline.steps.is_empty());
                crate::Schedule::of_steps(pipeline, &facts, &choice).unwrap();
            }
        }
        Err(rejected) => {
            prop_assert!(!rejected.errors.is_empty());
            prop_assert!(
                !rejected
                    .to_string()
                    .chars()
                    .any(|c| c.is_control() && c != '\n')
            );
        }
    }
    Ok(())
}

proptest! {
    /// P13: no text makes the parser panic, and what it accepts has an order.
    #[test]
    fn any_text_has_an_answer(text in "\\PC{0,200}") {
        check_answer(&text, Dialect::Vmpool)?;
        check_answer(&text, Dialect::Drone)?;
    }

    /// The same for bytes that were text once.
    #[test]
    fn any_bytes_have_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_answer(&String::from_utf8_lossy(&bytes), Dialect::Drone)?;
    }

    /// The same for what looks like a pipeline.
    #[test]
    fn anything_like_a_pipeline_has_an_answer(lines in prop::collection::vec(any_line(), 0..24)) {
        let text: String = lines.concat();
        check_answer(&text, Dialect::Vmpool)?;
        check_answer(&format!("kind: pipeline\nsteps:\n- name: a\n  commands: [x]\n{text}"), Dialect::Drone)?;
    }

    /// The same for a good file with some of its characters replaced.
    #[test]
    fn a_damaged_file_has_an_answer(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..6),
    ) {
        let mut chars: Vec<char> = FULL.chars().collect();
        for (at, c) in damage {
            let at = at.index(chars.len());
            chars[at] = c;
        }
        let text: String = chars.into_iter().collect();
        check_answer(&text, Dialect::Vmpool)?;
        check_answer(&text, Dialect::Drone)?;
    }
}
