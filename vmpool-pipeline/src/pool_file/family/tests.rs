//! Which pools an entry stands for, and which of them a request gets.

use super::super::{AmazonSpec, Diagnostic, Source, parse_pool_file};
use super::*;

fn read(text: &str) -> PoolFile {
    parse_pool_file("pool.yml", text).unwrap_or_else(|rejected| panic!("{rejected}"))
}

fn refused(text: &str) -> String {
    match parse_pool_file("pool.yml", text) {
        Ok(file) => panic!("taken: {file:?}"),
        Err(rejected) => rejected.to_string(),
    }
}

fn names(file: &PoolFile) -> Vec<&str> {
    file.pools.iter().map(|pool| pool.name.as_str()).collect()
}

fn spec<'a>(file: &'a PoolFile, name: &str) -> &'a AmazonSpec {
    match &file.pool(name).expect("it is there").source {
        Source::Amazon(spec) => spec,
        Source::Local(_) => panic!("of another type"),
    }
}

/// The pool that a request for `linux` gets.
fn chosen<'a>(file: &'a PoolFile, class: &str, nested: bool, image: &str) -> &'a str {
    let wanted = Wanted {
        pool: "linux".into(),
        resource_class: class.into(),
        nested_virtualization: nested,
        image: image.into(),
        ..Wanted::default()
    };
    &file.choose(&wanted).expect("there is one").name
}

const VARIANTS: &str = "
instances:
- name: linux
  type: amazon
  pool: 2
  limit: 10
  variant_id: default
  spec:
    ami: ami-base
    size: m7i.large
    size_alt: m6i.large
    disk: {size: 64, type: io1, iops: 3000}
    network:
      zone_details:
      - {availability_zone: x-1a, subnet_id: subnet-a}
      - {availability_zone: x-1b, subnet_id: subnet-b}
  variants:
  - variant_id: large
    pool: 1
    limit: 5
    resource_class: large
    machine_type: m7i.4xlarge
    image_name: ami-large
    disk_size: 200
    disk_type: gp3
    hibernate: true
    gpu: false
    zones: [x-1b]
  - {variant_id: large-any, resource_class: large, machine_type: c7i.4xlarge}
  - {variant_id: metal, resource_class: large, machine_type: m7i.metal-24xl, enable_nested_virtualization: true}
  - {variant_id: small-a, resource_class: small, image_name: ami-a}
  - {variant_id: small-b, resource_class: small, image_name: ami-b}
";

#[test]
fn a_variant_is_a_pool_of_its_own_with_its_own_shape_and_count() {
    let file = read(VARIANTS);
    let all = [
        "linux",
        "linux/large",
        "linux/large-any",
        "linux/metal",
        "linux/small-a",
        "linux/small-b",
    ];
    assert_eq!(names(&file), all);
    let large = file.pool("linux/large").expect("it is there");
    assert_eq!((large.warm, large.limit), (1, 5));
    assert_eq!(large.base, "linux");
    let shape = spec(&file, "linux/large");
    assert_eq!(shape.sizes, ["m7i.4xlarge"]);
    assert_eq!(shape.ami, "ami-large");
    assert_eq!((shape.disk.gib, shape.disk.iops), (Some(200), None));
    assert_eq!(shape.disk.kind.as_deref(), Some("gp3"));
    assert!(shape.hibernate);
    let [zone] = shape.network.zones.as_slice() else {
        panic!("{shape:?}")
    };
    assert_eq!(zone.subnet.as_deref(), Some("subnet-b"));
    // What a variant does not name is the pool's; what names no size keeps none ready.
    let any = file.pool("linux/large-any").expect("it is there");
    assert_eq!((any.warm, any.limit), (0, 100));
    let shape = spec(&file, "linux/large-any");
    assert_eq!(shape.ami, "ami-base");
    assert_eq!(shape.disk, spec(&file, "linux").disk);
    let warnings: Vec<_> = file.warnings.iter().map(Diagnostic::to_string).collect();
    assert_eq!(
        warnings,
        ["pool.yml:27:5: instances[0].variants[0]: `gpu` has no effect here"]
    );
}

/// The incumbent's table of what is chosen: (a) to (h).
#[test]
fn a_request_gets_the_first_variant_of_its_class_and_image_else_the_plain_pool() {
    let file = read(VARIANTS);
    assert_eq!(chosen(&file, "large", true, ""), "linux/metal", "a, c");
    assert_eq!(chosen(&file, "huge", false, ""), "linux", "b");
    assert_eq!(chosen(&file, "", false, ""), "linux", "b");
    assert_eq!(chosen(&file, "small", true, ""), "linux", "c");
    assert_eq!(
        chosen(&file, "large", false, "ami-large"),
        "linux/large",
        "d"
    );
    assert_eq!(chosen(&file, "small", false, "ami-b"), "linux/small-b", "d");
    assert_eq!(chosen(&file, "small", false, "ami-c"), "linux", "e");
    assert_eq!(
        chosen(&file, "large", false, "ami-c"),
        "linux/large-any",
        "f"
    );
    assert_eq!(chosen(&file, "large", false, ""), "linux/large", "g, h");
    let full = Wanted {
        pool: "linux/metal".into(),
        ..Wanted::default()
    };
    assert_eq!(file.choose(&full).expect("it is there").name, "linux/metal");
    let none = Wanted {
        pool: "nope".into(),
        ..Wanted::default()
    };
    assert_eq!(file.choose(&none), None);
}

const TENANTS: &str = "
instances:
- name: linux
  type: amazon
  pool: 2
  limit: 10
  spec:
    ami: ami-base
    account: {region: x-1, role_arn: arn:base}
    network: {private_ip: true, security_groups: [sg-1, sg-2]}
  variants:
  - {variant_id: large, resource_class: large, machine_type: m7i.4xlarge}
  tenants:
  - group_id: acme
    ids: [acct1, acct2]
    pool: 0
    limit: 5
    spec: {account: {role_arn: arn:acme}, network: {private_ip: false, security_groups: [sg-3]}}
    variants:
    - {variant_id: large, resource_class: large, machine_type: m7i.8xlarge}
    - {variant_id: huge, resource_class: huge, machine_type: m7i.16xlarge}
  - ids: [acct3]
";

#[test]
fn a_tenant_has_pools_of_the_merged_spec_for_its_accounts() {
    let file = read(TENANTS);
    let all = [
        "linux",
        "linux/large",
        "linux@acme",
        "linux@acme/large",
        "linux@acme/huge",
        "linux@acct3",
        "linux@acct3/large",
    ];
    assert_eq!(names(&file), all);
    let size = |name| {
        let pool = file.pool(name).expect("it is there");
        (pool.warm, pool.limit)
    };
    // None is another thing than nothing said.
    assert_eq!(size("linux@acme"), (0, 5));
    assert_eq!(size("linux@acct3"), (2, 10));
    let acme = spec(&file, "linux@acme");
    assert_eq!(acme.account.region.as_deref(), Some("x-1"));
    assert_eq!(acme.account.role_arn.as_deref(), Some("arn:acme"));
    assert_eq!(acme.network.security_groups, ["sg-3"]);
    assert!(acme.network.private, "nothing is turned off");
    assert_eq!(spec(&file, "linux@acme/large").sizes, ["m7i.8xlarge"]);
    assert_eq!(spec(&file, "linux@acct3/large").sizes, ["m7i.4xlarge"]);
    assert_eq!(
        spec(&file, "linux").account.role_arn.as_deref(),
        Some("arn:base")
    );
    let warnings: Vec<_> = file.warnings.iter().map(Diagnostic::to_string).collect();
    assert_eq!(
        warnings,
        [
            "pool.yml:18:65: instances[0].tenants[0].spec.network.private_ip: a tenant can't turn \
             off what its pool turns on"
        ]
    );
}

#[test]
fn a_request_of_a_tenants_account_gets_the_tenants_machine() {
    let file = read(TENANTS);
    let chosen = |account: &str, class: &str| {
        let wanted = Wanted {
            pool: "linux".into(),
            account: account.into(),
            resource_class: class.into(),
            ..Wanted::default()
        };
        file.choose(&wanted).expect("there is one").name.clone()
    };
    assert_eq!(chosen("acct2", ""), "linux@acme");
    assert_eq!(chosen("acct2", "huge"), "linux@acme/huge");
    assert_eq!(chosen("acct3", "huge"), "linux@acct3");
    assert_eq!(chosen("acct4", "large"), "linux/large");
    assert_eq!(chosen("", ""), "linux");
}

#[test]
fn p13_variants_and_tenants_that_can_t_be_are_refused_with_their_place() {
    let of = |text: &str| {
        let text = format!("instances:\n- name: a\n  type: amazon\n  spec: {{ami: a}}\n{text}");
        refused(&text)
    };
    assert_eq!(
        of("  variants: [{pool: 1}, {variant_id: b}, {variant_id: b}]\n"),
        "pool.yml:5:14: instances[0].variants[0]: `variant_id` is missing
pool.yml:5:42: instances[0].variants[2]: variant `b` already defined"
    );
    assert_eq!(
        of(
            "  tenants:\n  - {group_id: g}\n  - {ids: []}\n  - {ids: [x]}\n  - {group_id: x, ids: [y]}\n  - {group_id: z, ids: [y, x]}\n"
        ),
        "pool.yml:6:5: instances[0].tenants[0]: `ids` is missing
pool.yml:7:11: instances[0].tenants[1].ids: a tenant has at least one account, and each has an id
pool.yml:9:5: instances[0].tenants[3]: tenant `x` already defined
pool.yml:10:5: instances[0].tenants[4]: account `x` is tenant `x`'s already"
    );
    // A mistake of the pool's own is told once, and one of the tenant's where it stands.
    assert_eq!(
        of("  tenants:\n  - {ids: [x], spec: {disk: {size: big}}}\n"),
        "pool.yml:6:36: instances[0].tenants[0].spec.disk.size: expected a whole number, found `big`"
    );
    assert_eq!(
        refused(
            "instances:\n- {name: a/b, type: local}\n- {name: a, type: local, variants: [{variant_id: b}]}\n"
        ),
        "pool.yml:3:3: instances[1]: pool \"a/b\" already defined"
    );
}

#[test]
fn local_pools_have_variants_and_tenants_too_of_one_shape() {
    let file = read(
        "instances:
- name: here
  type: local
  spec: {root: /a}
  variants: [{variant_id: v, pool: 3, resource_class: c, machine_type: big}]
  tenants: [{ids: [x], spec: {root: /b}}]
",
    );
    assert_eq!(names(&file), ["here", "here/v", "here@x", "here@x/v"]);
    let Source::Local(spec) = &file.pool("here@x/v").expect("it is there").source else {
        panic!("of another type")
    };
    assert_eq!(spec.root.as_deref(), Some(std::path::Path::new("/b")));
    assert_eq!(file.warnings.len(), 1, "{:?}", file.warnings);
}
