//! The format's keys: what is read, what only `.vmpool.yml` has, and what Drone
//! knows and has no effect here.

/// The keys that a map may have.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Read, in both dialects.
    pub(crate) known: &'static [&'static str],
    /// Read in `.vmpool.yml` only.
    pub(crate) own: &'static [&'static str],
    /// Known to Drone, and without effect here.
    pub(crate) ignored: &'static [&'static str],
}

/// What other CI systems call our keys, and what people write by mistake.
pub(crate) const MEANT: &[(&str, &str)] = &[
    ("when", "trigger"),
    ("on", "trigger"),
    ("script", "commands"),
    ("run", "commands"),
    ("env", "environment"),
    ("variables", "environment"),
    ("secrets", "environment"),
    ("needs", "depends_on"),
    ("allow_failure", "failure"),
];

/// A pipeline's keys that begin so are the author's own, for anchors.
pub(crate) const EXTENSION: &str = "x-";

pub(crate) const PIPELINE: Keys = Keys {
    known: &[
        "kind",
        "type",
        "name",
        "platform",
        "pool",
        "workspace",
        "environment",
        "clone",
        "trigger",
        "services",
        "volumes",
        "steps",
        "depends_on",
    ],
    own: &["timeout"],
    ignored: &[
        "concurrency",
        "node",
        "node_selector",
        "node_name",
        "tolerations",
        "host_aliases",
        "metadata",
        "service_account_name",
        "image_pull_secrets",
        "pull_secrets",
        "resources",
        "dns_config",
        "networks",
        "version",
        "privileged",
        "server",
        "token",
    ],
};

pub(crate) const STEP: Keys = Keys {
    known: &[
        "name",
        "image",
        "pull",
        "commands",
        "settings",
        "environment",
        "depends_on",
        "detach",
        "entrypoint",
        "command",
        "user",
        "failure",
        "when",
        "volumes",
        "privileged",
    ],
    own: &["timeout"],
    ignored: &[
        "network_mode",
        "networks",
        "ports",
        "devices",
        "dns",
        "dns_search",
        "extra_hosts",
        "mem_limit",
        "memswap_limit",
        "shm_size",
        "cpu_period",
        "cpu_quota",
        "cpu_shares",
        "cpu_set",
        "resources",
        "shell",
        "tmpfs",
        "working_dir",
        "labels",
        "image_pull_secrets",
        "push",
        "template",
    ],
};

pub(crate) const CONDITIONS: Keys = Keys {
    known: &[
        "event", "branch", "ref", "repo", "instance", "target", "cron", "status",
    ],
    own: &[],
    ignored: &["action", "paths", "changeset"],
};

pub(crate) const CONSTRAINT: Keys = Keys {
    known: &["include", "exclude"],
    own: &[],
    ignored: &[],
};
pub(crate) const SECRET: Keys = Keys {
    known: &["from_secret"],
    own: &[],
    ignored: &[],
};
pub(crate) const PLATFORM: Keys = Keys {
    known: &["os", "arch", "variant", "version"],
    own: &[],
    ignored: &[],
};
pub(crate) const POOL: Keys = Keys {
    known: &["use"],
    own: &[],
    ignored: &[],
};
pub(crate) const WORKSPACE: Keys = Keys {
    known: &["base", "path"],
    own: &[],
    ignored: &[],
};
pub(crate) const CLONE: Keys = Keys {
    known: &["disable", "depth"],
    own: &[],
    ignored: &[
        "retries",
        "skip_verify",
        "trace",
        "tags",
        "recursive",
        "lfs",
        "image",
    ],
};
pub(crate) const VOLUME: Keys = Keys {
    known: &["name", "temp", "host"],
    own: &[],
    ignored: &OTHER_SOURCES,
};
pub(crate) const OTHER_SOURCES: [&str; 4] = ["claim", "config_map", "secret", "downward_api"];
pub(crate) const HOST: Keys = Keys {
    known: &["path"],
    own: &[],
    ignored: &[],
};
pub(crate) const MOUNT: Keys = Keys {
    known: &["name", "path"],
    own: &[],
    ignored: &["read_only", "mount", "sub_path"],
};

/// The events that Drone knows.
pub(crate) const EVENTS: &[&str] = &[
    "push",
    "pull_request",
    "tag",
    "promote",
    "rollback",
    "cron",
    "custom",
];
pub(crate) const STATUSES: &[&str] = &["success", "failure"];
