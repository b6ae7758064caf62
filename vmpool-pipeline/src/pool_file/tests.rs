//! What pool files mean, and what is wrong with those that are refused (P13).

use std::time::Duration;

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
    let spec = LocalSpec {
        root: Some("/var/lib/machines".into()),
        agent: Vec::new(),
    };
    assert_eq!(pool.source, Source::Local(spec));
    let timing = &pool.timing;
    assert_eq!(timing.idle_clock, Some(Duration::from_secs(20)));
    assert_eq!(timing.deadlines.acquire, Some(Duration::from_secs(90)));
    assert_eq!(timing.deadlines.booting, None);
    assert_eq!(timing.max_age, Some(Duration::from_hours(72)));
}

#[test]
fn an_agent_of_the_incumbents_protocol_is_taken_with_a_warning_of_what_it_can_not_keep() {
    let file = read(
        "instances: [{name: a, type: local, spec: {agent: [/bin/lite-engine, server, --state, s]}}]",
    );
    let command = ["/bin/lite-engine", "server", "--state", "s"];
    let Source::Local(spec) = &file.pools[0].source else {
        panic!("of another type")
    };
    assert_eq!(spec.agent, command);
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
  varants: []
  spec: {rot: /x}
",
    );
    let warnings: Vec<_> = file.warnings.iter().map(Diagnostic::to_string).collect();
    assert_eq!(
        warnings,
        [
            "pool.yml:4:3: instances[0]: unknown key `limt`, did you mean `limit`?",
            "pool.yml:5:3: instances[0]: unknown key `varants`, did you mean `variants`?",
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
  type: google
- type: locl
  pool: many
- name: c
  type: local
  spec:
    root: machines
    clocks: {boot: 30}
"
        ),
        "pool.yml:3:9: instances[0].type: machines of type `google` are not supported; supported: local, amazon
pool.yml:4:3: instances[1]: `name` is missing
pool.yml:4:9: instances[1].type: unknown type `locl`, did you mean `local`?; supported: local, amazon
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
        "pool.yml:3:3: instances[1]: pool \"a\" already defined"
    );
}

#[test]
fn p13_a_platform_that_this_host_is_not_is_refused() {
    let error = refused("instances: [{name: a, type: local, platform: {os: plan9}}]");
    assert!(error.contains("platform.os: local machines are"), "{error}");
}

fn amazon(spec: &str) -> String {
    format!("instances:\n- name: a\n  type: amazon\n  spec: {spec}\n")
}

fn amazon_of(text: &str) -> (AmazonSpec, Vec<String>) {
    let mut file = read(text);
    let Source::Amazon(spec) = file.pools.remove(0).source else {
        panic!("of another type")
    };
    let warnings = file.warnings.iter().map(Diagnostic::to_string);
    (*spec, warnings.collect())
}

#[test]
fn the_incumbents_keys_of_an_amazon_pool_mean_what_they_say() {
    let (spec, warnings) = amazon_of(
        "version: \"1\"
instances:
- name: linux-amd64
  default: true
  type: amazon
  pool: 2
  limit: 10
  platform: {os: linux, arch: amd64, os_name: amazon-linux}
  spec:
    account:
      access_key_id: AKIA
      access_key_secret: hush
      region: us-east-2
      retries: 10
      key_pair_name: ops
    ami: ami-1
    size: m6i.xlarge
    size_alt: m5.xlarge
    market_type: spot
    tags: {team: ci}
    disk: {size: 200, type: io1, iops: 3000, kms_key_id: k, tags: {cost: a}}
    network:
      private_ip: true
      security_groups: [sg-1]
      vpc_security_group_ids: [sg-1, sg-2]
      zone_details:
      - {availability_zone: us-east-2a, subnet_id: subnet-a}
      - {availability_zone: us-east-2b, subnet_id: subnet-b}
    iam_profile_arn: arn:aws:iam::1:instance-profile/ci
    hibernate: true
    user: root
",
    );
    assert_eq!(
        warnings,
        [
            "pool.yml:14:7: instances[0].spec.account: `retries` has no effect here",
            "pool.yml:31:5: instances[0].spec: `user` has no effect here",
        ]
    );
    let keys = spec.account.keys.clone().expect("keys");
    assert_eq!((keys.id.as_str(), keys.secret.as_str()), ("AKIA", "hush"));
    assert!(!format!("{spec:?}").contains("hush"), "P11");
    assert_eq!(spec.sizes, ["m6i.xlarge", "m5.xlarge"]);
    assert_eq!(spec.market, AmazonMarket::SpotThenOnDemand);
    assert_eq!(spec.disk.iops, Some(3000));
    assert_eq!(spec.network.security_groups, ["sg-1", "sg-2"]);
    assert_eq!(spec.network.zones.len(), 2);
    assert!(spec.network.private && spec.hibernate);
}

#[test]
fn what_an_amazon_pool_leaves_out_is_as_with_the_incumbent() {
    let (spec, warnings) = amazon_of(&amazon("{ami: ubuntu-*}"));
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(spec.sizes, ["t3.nano"]);
    assert_eq!(spec.network.zones, []);
    let one_zone = "{ami: a, account: {availability_zone: x-1a}, network: {subnet_id: s}}";
    let (spec, _) = amazon_of(&amazon(one_zone));
    let zone = ZoneSpec {
        name: Some("x-1a".into()),
        subnet: Some("s".into()),
    };
    assert_eq!(spec.network.zones, [zone]);
    let arm = amazon("{ami: a}").replace("spec:", "platform: {arch: arm64}\n  spec:");
    assert_eq!(amazon_of(&arm).0.sizes, ["a1.medium"]);
}

#[test]
fn p13_an_amazon_pool_that_can_t_be_is_refused_in_the_incumbents_words() {
    let mips = amazon("{ami: a}").replace("spec:", "platform: {arch: mips}\n  spec:");
    let error = refused(&mips);
    assert!(
        error.contains("invalid arch mips, has to be 'amd64/arm64'"),
        "{error}"
    );
    let error = refused(&amazon("{size: t3.nano}"));
    assert!(error.contains("`ami` is missing"), "{error}");
    let error = refused(&amazon("{ami: a, account: {access_key_id: x}}"));
    assert!(error.contains("needed together"), "{error}");
    let error = refused(&amazon("{ami: a, tags: {\"vmpool:owner\": me}}"));
    assert!(error.contains("not the user's"), "{error}");
    let warnings = amazon_of(&amazon("{ami: a, sise: b}")).1;
    assert!(warnings[0].contains("did you mean `size`?"), "{warnings:?}");
}

#[test]
fn a_pool_of_fewer_than_none_keeps_none_ready() {
    let file = read("instances: [{name: a, type: local, pool: -1, limit: 0}]");
    assert_eq!((file.pools[0].warm, file.pools[0].limit), (0, 100));
}
