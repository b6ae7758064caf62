//! The keys of a pool file, each with what it holds and what it means: the one
//! source of what is read without a warning, of the JSON schema and of the
//! reference ([`super::reference`]).

use crate::keys::Keys;

/// A map of the file.
#[derive(Debug)]
pub(super) struct Table {
    /// Where it is, as the reference calls it.
    pub(super) title: &'static str,
    /// Its keys, as they are checked.
    pub(super) keys: Keys,
    /// Its keys, as they are told.
    pub(super) rows: &'static [Row],
}

/// A key.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: &'static str,
    /// `None`: it is the incumbent's, and has no effect here.
    pub(super) holds: Option<Holds>,
    pub(super) says: &'static str,
}

/// What a key holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holds {
    Text,
    Texts,
    TextOrTexts,
    Number,
    Flag,
    Duration,
    Tags,
    OneOf(&'static [&'static str]),
    Map(&'static Table),
    List(&'static Table),
    /// The `spec` of the pool's type.
    Spec,
}

macro_rules! table {
    ($(#[$about:meta])* $name:ident, $title:literal:
        $($key:literal $holds:expr => $says:literal;)*
        ignored: $($other:literal => $why:literal;)*
    ) => {
        $(#[$about])*
        pub(super) const $name: Table = Table {
            title: $title,
            keys: Keys { known: &[$($key),*], own: &[], ignored: &[$($other),*] },
            rows: &[
                $(Row { key: $key, holds: Some($holds), says: $says },)*
                $(Row { key: $other, holds: None, says: $why },)*
            ],
        };
    };
}

use Holds::{Duration, Flag, List, Map, Number, OneOf, Spec, Tags, Text, TextOrTexts, Texts};

table! { FILE, "The file":
    "version" Text => "`\"1\"`.";
    "instances" List(&INSTANCE) => "The pools; at least one. Required.";
    ignored:
}

table! { INSTANCE, "instances[]":
    "name" Text => "The name that requests ask for. Required, and each is there once.";
    "default" Flag => "The incumbent reads it, and asks for nothing by it.";
    "type" OneOf(&["local", "amazon", "aws"]) => "Where machines come from: processes of the runner's host, or EC2. Required.";
    "pool" Number => "Machines kept ready; fewer than none is none. Default 0.";
    "limit" Number => "Machines at most, in any state: it is never exceeded. Default 100 (also for 0); not fewer than `pool`.";
    "platform" Map(&PLATFORM) => "What the machines are.";
    "variant_id" Text => "A name for the entry's own shape; nothing asks for it.";
    "variants" List(&VARIANT) => "Other shapes of machine, each a pool of its own, `NAME/VARIANT`. A request gets the first one whose class, nested virtualization and image it asks for, else the entry's own shape.";
    "tenants" List(&TENANT) => "Accounts whose builds have machines of their own, in pools `NAME@TENANT` and `NAME@TENANT/VARIANT`. A request's account is its `context.account_id`, else its tag `accountID`.";
    "spec" Spec => "What the machines are made from; required for `amazon`.";
    ignored:
}

table! { PLATFORM, "platform":
    "os" OneOf(&["linux", "darwin", "windows"]) => "EC2: `linux`. Local: this host's. Default `linux`.";
    "arch" OneOf(&["amd64", "arm64"]) => "Default `amd64`; local: this host's.";
    "os_name" OneOf(&["ubuntu", "amazon-linux", "debian"]) => "Default `ubuntu`.";
    "variant" Text => "Read, and asked for by nothing.";
    "version" Text => "Read, and asked for by nothing.";
    ignored:
}

table! { VARIANT, "variants[]":
    "variant_id" Text => "Its id within the pool. Required.";
    "pool" Number => "As the pool's, of this shape. Default 0.";
    "limit" Number => "As the pool's, of this shape. Default 100.";
    "resource_class" Text => "It is for requests of this `resource_class`; default: of none.";
    "enable_nested_virtualization" Flag => "It is for requests with `nested_virtualization`. Default false.";
    "machine_type" Text => "EC2: the type, instead of `size` and `size_alt`.";
    "image_name" Text => "EC2: the image, instead of `ami`; and it is preferred for requests of this image (`setup_request.vm_image_config.image_name`).";
    "disk_size" Number => "EC2: instead of `disk.size`.";
    "disk_type" Text => "EC2: instead of `disk.type`.";
    "hibernate" Flag => "EC2: instead of the spec's.";
    "zones" Texts => "EC2: zones, with the subnets that `zone_details` has for them.";
    ignored:
    "gpu" => "what a machine of EC2 has comes with its type";
}

table! { TENANT, "tenants[]":
    "group_id" Text => "Its id within the pool; default: the first of `ids`.";
    "ids" Texts => "Its accounts: at least one, and each is of one tenant. Required.";
    "pool" Number => "As the pool's, for this tenant; default: the pool's.";
    "limit" Number => "As the pool's, for this tenant; default: the pool's.";
    "spec" Spec => "Where its spec differs: maps are merged, lists are replaced, `false` turns nothing off.";
    "variants" List(&VARIANT) => "Its variants: one of the same id as the pool's replaces that, others are added.";
    ignored:
}

table! { LOCAL, "spec of type local":
    "root" Text => "The directory of the machines: an absolute path. Default `/tmp/vmpool-UID`.";
    "agent" Texts => "The command of an agent that speaks the incumbent's protocol. Default: vmpool's own.";
    "clocks" Map(&CLOCKS) => "When a machine that nobody cares for ends itself.";
    "deadlines" Map(&DEADLINES) => "How long anything may take.";
    "max_age" Duration => "A machine is replaced before this age. Default 72h.";
    ignored:
}

table! { CLOCKS, "spec.clocks":
    "boot" Duration => "Nobody has enrolled it. Default 30m.";
    "idle" Duration => "It has no stage, and nobody renews it. Default 10m.";
    "stage_grace" Duration => "After its stage's deadline. Default 60m.";
    ignored:
}

table! { DEADLINES, "spec.deadlines":
    "launching" Duration => "From a launch's first call until listings must tell. Default 2m.";
    "booting" Duration => "From a launch until the agent is connected. Default 5m; local 1m.";
    "prepare" Duration => "From a claim until the stage is prepared. Default 2m.";
    "draining" Duration => "From a release until the machine is terminated. Default 2m.";
    "terminating" Duration => "From the first call until the alarm. Default 10m.";
    "acquire" Duration => "A request waits for a machine. Default 10m.";
    "stage" Duration => "A stage whose request names no timeout. Default 12h.";
    ignored:
}

table! { AMAZON, "spec of type amazon":
    "account" Map(&ACCOUNT) => "Whose machines they are, and in which region.";
    "ami" Text => "The image: an id, a name (the newest counts, `*` stands for anything), or `resolve:ssm:PARAMETER`. Required.";
    "ami_owners" Texts => "Whose images count where `ami` is a name. Default `amazon` and `self`.";
    "size" TextOrTexts => "Types of machine, the preferred one first. Default `t3.nano`, for arm64 `a1.medium`.";
    "size_alt" TextOrTexts => "Further types, for when there is no capacity.";
    "prefer" OneOf(&["first", "cheapest"]) => "The first type that can be had, or the cheapest. Default `first`.";
    "market_type" OneOf(&["on-demand", "on_demand", "spot", "spot-only", "spot_only"]) => "`spot`: spot while there is some, else on-demand. Default `on-demand`.";
    "vpc" Text => "The VPC of a security group that is made. Default: the account's default one.";
    "tags" Tags => "Tags of the machines and of all that belongs to them.";
    "user_data" Text => "A start-up template of your own.";
    "user_data_Path" Text => "The same, in a file. `user_data` counts above it.";
    "user_data_path" Text => "The same, as the incumbent's documentation writes it.";
    "docker" OneOf(&["install", "require", "none"]) => "Docker on the machines: installed where the image lacks it, or required to be there, or not looked at. Default `install`.";
    "git" OneOf(&["install", "require", "none"]) => "The same of git.";
    "disk" Map(&DISK) => "The root volume; always encrypted.";
    "network" Map(&NETWORK) => "How machines are reached.";
    "zone_details" List(&ZONE) => "The older place of `network.zone_details`.";
    "device_name" Text => "The root device. Default: the image's.";
    "iam_profile_arn" Text => "The machines' instance profile.";
    "hibernate" Flag => "Machines can be put to sleep.";
    "clocks" Map(&CLOCKS) => "When a machine that nobody cares for ends itself.";
    "deadlines" Map(&DEADLINES) => "How long anything may take.";
    "max_age" Duration => "A machine is replaced before this age. Default 72h.";
    ignored:
    "name" => "the pool has a name";
    "type" => "the pool has a type";
    "root_directory" => "there is no such directory here";
    "user" => "nobody logs in";
    "enable_c4d" => "local disks are the image's matter";
}

table! { ACCOUNT, "spec.account":
    "access_key_id" Text => "With `access_key_secret`: keys that count above all others. Default: `AMAZON_ACCESS_KEY_ID` and the like, else what the AWS SDK finds.";
    "access_key_secret" Text => "Its secret.";
    "aws_session_token" Text => "The token of temporary keys.";
    "region" Text => "The region. Default: what the AWS SDK finds.";
    "availability_zone" Text => "The older form of one entry of `zone_details`.";
    "key_pair_name" Text => "The key pair for SSH.";
    "role_arn" Text => "A role that is assumed for all calls.";
    "external_id" Text => "What that role's trust policy asks for.";
    ignored:
    "retries" => "calls are made again within one budget for the whole account";
}

table! { DISK, "spec.disk":
    "size" Number => "In GiB. Default 32, and not less than the image's.";
    "type" Text => "Default `gp2`.";
    "iops" Number => "Where the type takes it. Default 100 for `io1`.";
    "kms_key_id" Text => "The key that it is encrypted with. Default: the account's.";
    "tags" Tags => "Tags of its own.";
    ignored:
}

table! { NETWORK, "spec.network":
    "security_groups" TextOrTexts => "Ids of security groups. Default: one is made that admits `allow_from`.";
    "vpc_security_group_ids" TextOrTexts => "The same.";
    "allow_from" TextOrTexts => "Address ranges that a made group admits to the agents' port.";
    "subnet_id" Text => "The older form of one entry of `zone_details`.";
    "private_ip" Flag => "Machines get no public address, and are dialled at their private one. Default false.";
    "zone_details" List(&ZONE) => "Where machines may be, in turn. Default: wherever EC2 puts them.";
    ignored:
}

table! { ZONE, "zone_details[]":
    "availability_zone" Text => "The zone.";
    "subnet_id" Text => "The subnet there. Default: the zone's default one.";
    ignored:
}

/// Every map of a file, in the reference's order.
pub(super) const TABLES: [&Table; 13] = [
    &FILE, &INSTANCE, &PLATFORM, &VARIANT, &TENANT, &AMAZON, &ACCOUNT, &DISK, &NETWORK, &ZONE,
    &LOCAL, &CLOCKS, &DEADLINES,
];
