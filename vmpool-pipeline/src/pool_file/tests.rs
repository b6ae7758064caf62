//! What pool files mean, and what is wrong with those that are refused (P13).

use super::*;

fn read(text: &str) -> PoolFile {
    parse_pool_file("pool.yml", text).unwrap_or_else(|rejected| panic!("{rejected}"))
}

/// The errors of a file that is refused, a line each.
fn refused(text: &str) -> String {
    match parse_pool_file("pool.yml", text) {
        Ok(file) => panic!("taken: {file:?}"),
        Err(rejected) => rejected.to_string(),
    }
}

#[test]
fn a_pool_has_what_its_file_says() {
    let file = read(
        "version: \"1\"
instances:
- name: linux
  default: true
  type: local
  pool: 2
  limit: 10
  spec:
    root: /var/lib/machines
    clocks: {boot: 30m, idle: 20s, stage_grace: 1h}
    deadlines: {acquire: 90s, stage: 2h}
    max_age: 72h
",
    );
    assert_eq!(file.warnings, []);
    let [pool] = file.pools.as_slice() else {
        panic!("{file:?}")
    };
    assert_eq!(
        (pool.name.as_str(), pool.warm, pool.limit),
        ("linux", 2, 10)
    );
    assert_eq!(pool.platform, PoolPlatform::here());
    let spec = &pool.local;
    assert_eq!(spec.root, Some("/var/lib/machines".into()));
    assert_eq!(spec.idle_clock, Some(Duration::from_secs(20)));
    assert_eq!(spec.deadlines.acquire, Some(Duration::from_secs(90)));
    assert_eq!(spec.deadlines.booting, None);
    assert_eq!(spec.max_age, Some(Duration::from_hours(72)));
}

#[test]
fn an_agent_of_the_incumbents_protocol_is_taken_with_a_warning_of_what_it_can_not_keep() {
    let file = read(
        "instances: [{name: a, type: local, spec: {agent: [/bin/lite-engine, server, --state, s]}}]",
    );
    let command = ["/bin/lite-engine", "server", "--state", "s"];
    assert_eq!(file.pools[0].local.agent, command);
    let warning = file.warnings[0].to_string();
    assert!(
        warning.contains("spec.agent: ") && warning.contains("P12"),
        "{warning}"
    );
    for command in ["[]", "[lite-engine]"] {
        let error = refused(&format!(
            "instances: [{{name: a, type: local, spec: {{agent: {command}}}}}]"
        ));
        assert!(
            error.contains("spec.agent: expected the absolute path"),
            "{error}"
        );
    }
}

#[test]
fn what_a_file_leaves_out_is_as_with_the_incumbent() {
    let file = read("instances: [{name: a, type: local}, {name: b, type: local, pool: 200}]");
    let sizes: Vec<_> = file.pools.iter().map(|p| (p.warm, p.limit)).collect();
    assert_eq!(sizes, [(0, 100), (200, 200)]);
    let file = read("instances: [{name: a, type: local, pool: 3, limit: 2}]");
    assert_eq!(file.pools[0].limit, 3);
    assert_eq!(
        file.warnings[0].to_string(),
        "pool.yml:1:52: instances[0].limit: the limit 2 is below the 3 kept ready, so it is 3"
    );
}

#[test]
fn p13_an_unknown_key_is_a_warning_that_names_the_nearest_one() {
    let file = read(
        "instances:
- name: a
  type: local
  limt: 3
  variants: []
  spec: {rot: /x}
",
    );
    let warnings: Vec<_> = file.warnings.iter().map(Diagnostic::to_string).collect();
    assert_eq!(
        warnings,
        [
            "pool.yml:4:3: instances[0]: unknown key `limt`, did you mean `limit`?",
            "pool.yml:5:3: instances[0]: `variants` has no effect here",
            "pool.yml:6:10: instances[0].spec: unknown key `rot`, did you mean `root`?",
        ]
    );
}

#[test]
fn p13_every_mistake_is_told_with_its_field_and_place() {
    assert_eq!(
        refused(
            "instances:
- name: a
  type: amazon
- type: locl
  pool: many
- name: c
  type: local
  spec:
    root: machines
    clocks: {boot: 30}
"
        ),
        "pool.yml:3:9: instances[0].type: machines of type `amazon` are not supported; supported: local
pool.yml:4:3: instances[1]: `name` is missing
pool.yml:4:9: instances[1].type: unknown type `locl`, did you mean `local`?; supported: local
pool.yml:5:9: instances[1].pool: expected a whole number, found `many`
pool.yml:9:11: instances[2].spec.root: expected an absolute path of a directory
pool.yml:10:20: instances[2].spec.clocks.boot: a duration needs a unit, like `90s`, `10m` or `1h30m`, found `30`"
    );
}

#[test]
fn p13_a_file_without_pools_or_with_one_twice_is_refused() {
    assert_eq!(
        refused("version: \"1\""),
        "pool.yml:1:1: `instances` is missing"
    );
    assert_eq!(
        refused("instances: []"),
        "pool.yml:1:12: instances: at least one pool is needed"
    );
    assert_eq!(
        refused(""),
        "pool.yml: expected one document with `instances`, found 0"
    );
    assert_eq!(
        refused("instances:\n- {name: a, type: local}\n- {name: a, type: local}\n"),
        "pool.yml:3:3: instances[1]: the pool `a` is there twice"
    );
}

#[test]
fn p13_a_platform_that_this_host_is_not_is_refused() {
    let error = refused("instances: [{name: a, type: local, platform: {os: plan9}}]");
    assert!(error.contains("platform.os: local machines are"), "{error}");
}
