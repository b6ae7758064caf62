//! What an EC2 machine of ours has beside its agent: what its pool asks for, and
//! the incumbent's companion programs whose addresses are set.

use vmpool_aws::user_data::Extra;
use vmpool_pipeline::{AmazonPresence, AmazonSpec};

use super::start_up::from_environment;

/// Programs that some steps call, with the incumbent's variables for their
/// addresses, the preferred one first.
const COMPANIONS: [(&str, &[&str]); 5] = [
    (
        "plugin",
        &[
            "DRONE_PLUGIN_BINARY_URI",
            "DRONE_PLUGIN_BINARY_FALLBACK_URI",
        ],
    ),
    ("split_tests", &["DRONE_HARNESS_TEST_BINARY_URI"]),
    (
        "auto-injection",
        &["DRONE_HARNESS_AUTO_INJECTION_BINARY_URI"],
    ),
    (
        "hcli",
        &[
            "DRONE_ANNOTATIONS_CLI_URI",
            "DRONE_ANNOTATIONS_CLI_FALLBACK_URI",
        ],
    ),
    (
        "envman",
        &[
            "DRONE_ENVMAN_BINARY_URI",
            "DRONE_ENVMAN_BINARY_FALLBACK_URI",
        ],
    ),
];

/// All of them, for machines of this architecture.
pub(super) fn extras(spec: &AmazonSpec, arch: &str) -> Vec<Extra> {
    let install = |presence| match presence {
        AmazonPresence::Install => Some(true),
        AmazonPresence::Require => Some(false),
        AmazonPresence::None => None,
    };
    let docker = install(spec.docker).map(|install| Extra::Docker { install });
    let git = install(spec.git).map(|install| Extra::Git { install });
    let companions = COMPANIONS.iter().filter_map(|(name, variables)| {
        let urls = variables.iter().filter_map(|name| from_environment(name));
        let urls: Vec<_> = urls
            // That of plugins names a folder, as that of agents does.
            .map(|url| match *name {
                "plugin" => format!("{}/plugin-linux-{arch}", url.trim_end_matches('/')),
                _ => url,
            })
            .collect();
        (!urls.is_empty()).then(|| Extra::Companion {
            name: (*name).to_owned(),
            file: format!("/usr/bin/{name}"),
            urls,
        })
    });
    docker.into_iter().chain(git).chain(companions).collect()
}
