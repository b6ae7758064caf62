//! What the EC2 machines of a pool do first: our own user data, or the pool
//! file's template with the incumbent's variables. Asks nobody but the
//! template's file and this process's environment.

use std::fs::read_to_string as read;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use vmpool_agent::ThrowAway;
use vmpool_aws::user_data::template::BornWith;
use vmpool_aws::user_data::{Agent, Linux, UserData, UserTemplate};
use vmpool_pipeline::{AmazonSpec, AmazonUserData, PoolFile, PoolPlatform, PoolSpec, Source};

use super::amazon::PORT;
use super::clocks;
use super::extras::extras;
use crate::out::complain;
use crate::serve::agents::Offered;

/// Where the incumbent's agent is when nobody says.
const RELEASES: &str = "https://github.com/harness/lite-engine/releases/download/v0.5.194/";
const RELEASES_FALLBACK: &str =
    "https://app.harness.io/storage/harness-download/harness-ti/harness-lite-engine/v0.5.194/";

/// A template's variable, where the environment says it, and what it is else.
const ADDRESSES: [(&str, &str, &str); 11] = [
    (
        "LiteEngineFallbackPath",
        "DRONE_LITE_ENGINE_FALLBACK_PATH",
        RELEASES_FALLBACK,
    ),
    (
        "PluginBinaryURI",
        "DRONE_PLUGIN_BINARY_URI",
        "https://github.com/drone/plugin/releases/download/v3.9.7",
    ),
    (
        "PluginBinaryFallbackURI",
        "DRONE_PLUGIN_BINARY_FALLBACK_URI",
        "",
    ),
    (
        "HarnessTestBinaryURI",
        "DRONE_HARNESS_TEST_BINARY_URI",
        "https://app.harness.io/storage/harness-download/harness-ti/split_tests",
    ),
    (
        "AutoInjectionBinaryURI",
        "DRONE_HARNESS_AUTO_INJECTION_BINARY_URI",
        "https://app.harness.io/storage/harness-download/harness-ti/auto-injection/1.0.19",
    ),
    (
        "AnnotationsBinaryURI",
        "DRONE_ANNOTATIONS_CLI_URI",
        "https://app.harness.io/storage/harness-download/harness-ti/hcli/v0.23/",
    ),
    (
        "AnnotationsBinaryFallbackURI",
        "DRONE_ANNOTATIONS_CLI_FALLBACK_URI",
        "",
    ),
    (
        "EnvmanBinaryURI",
        "DRONE_ENVMAN_BINARY_URI",
        "https://github.com/bitrise-io/envman/releases/download/v2.5.6",
    ),
    (
        "EnvmanBinaryFallbackURI",
        "DRONE_ENVMAN_BINARY_FALLBACK_URI",
        "",
    ),
    ("TmateBinaryURI", "DRONE_TMATE_BINARY_URI", ""),
    (
        "TmateBinaryFallbackURI",
        "DRONE_TMATE_BINARY_FALLBACK_URI",
        "",
    ),
];

/// What the machines of `pool` do first.
///
/// # Errors
/// Its template can't be used; the first words of the error are the key.
pub(crate) fn user_data(
    pool: &PoolSpec,
    spec: &AmazonSpec,
    agents: Option<&Offered>,
) -> anyhow::Result<UserData> {
    let clocks = clocks(&pool.timing);
    let (source, key) = match &spec.user_data {
        None => {
            return Ok(UserData::Linux(Linux {
                agent: agent(&pool.platform, agents),
                port: PORT,
                clocks: Some(clocks),
                extras: extras(spec, &pool.platform.arch),
            }));
        }
        Some(AmazonUserData::Text(text)) => (text.clone(), "spec.user_data".to_owned()),
        Some(AmazonUserData::Path(path)) => {
            let key = format!("spec.user_data_Path: {}", path.display());
            (read(path).with_context(|| key.clone())?, key)
        }
    };
    let variables = variables(pool, agents);
    let template = UserTemplate::new(&source, variables, clocks, |bootstrap| {
        let born_with = ThrowAway::of(bootstrap)?;
        Ok(BornWith {
            ca_pem: born_with.ca_pem,
            cert_pem: born_with.agent_cert_pem,
            key_pem: born_with.agent_key_pem,
        })
    });
    Ok(UserData::Template(template.context(key)?))
}

/// Refuses what no machine could start from, before anybody is asked for one,
/// and tells once what machines can't keep that start as the incumbent's do.
///
/// # Errors
/// A template can't be used; the error names pool, key and line.
pub(crate) fn check(file: &PoolFile, agents: Option<&Offered>) -> anyhow::Result<()> {
    for pool in &file.pools {
        if let Source::Amazon(spec) = &pool.source {
            let user_data = user_data(pool, spec, agents);
            let user_data = user_data.with_context(|| format!("pool {}", pool.name))?;
            if is_incumbents(&user_data) {
                complain(format_args!(
                    "warning: pool {}: machines that start from its template's TLSKey keep less: \
                     the key is in their user data, where every step can read it (P11), and whoever \
                     has it is obeyed (P12); after a restart of their agent their steps are lost \
                     (P4), processes of a step may be left (P10), and they outlive their runners",
                    pool.name
                ));
            }
        }
    }
    Ok(())
}

/// Whether agents of the incumbent's protocol come of it.
pub(crate) fn is_incumbents(user_data: &UserData) -> bool {
    matches!(user_data, UserData::Template(template) if template.is_incumbents())
}

/// What the agent's program is called, as it is offered for such machines.
pub(crate) fn program(platform: &PoolPlatform) -> String {
    format!("lite-engine-{}-{}", platform.os, platform.arch)
}

/// Where the agent of a machine comes from: the incumbent's variables count
/// above what this runner offers.
pub(crate) fn agent(platform: &PoolPlatform, offered: Option<&Offered>) -> Agent {
    let program = program(platform);
    let named = [
        from_environment("DRONE_LITE_ENGINE_PATH"),
        from_environment("DRONE_LITE_ENGINE_FALLBACK_PATH"),
    ];
    let urls: Vec<_> = named
        .into_iter()
        .flatten()
        .map(|path| format!("{}/{program}", path.trim_end_matches('/')))
        .collect();
    match offered.and_then(|offered| offered.program(&program)) {
        Some((url, sha256)) if urls.is_empty() => Agent {
            urls: vec![url],
            sha256: Some(sha256),
        },
        _ => Agent { urls, sha256: None },
    }
}

/// The variables of a pool's template that all of its machines have alike.
fn variables(pool: &PoolSpec, agents: Option<&Offered>) -> Map<String, Value> {
    let platform = &pool.platform;
    let program = program(platform);
    let offered = agents.and_then(|agents| agents.program(&program));
    let offered = offered.and_then(|(url, _)| Some(url.strip_suffix(&program)?.to_owned()));
    let lite_engine = from_environment("DRONE_LITE_ENGINE_PATH")
        .or_else(|| Some(offered?.trim_end_matches('/').to_owned()))
        .unwrap_or_else(|| RELEASES.to_owned());
    let (folder, slash) = match platform.os.as_str() {
        "windows" => ("C:\\harness-certs", '\\'),
        _ => ("/tmp/certs", '/'),
    };
    let certificate = |name: &str| format!("{folder}{slash}{name}");
    let tmate = |name: &str| from_environment(name).unwrap_or_default();
    let fixed = [
        (
            "Platform",
            json!({
                "OS": platform.os,
                "Arch": platform.arch,
                "OSName": platform.os_name,
                "Variant": "",
                "Version": "",
            }),
        ),
        ("Architecture", platform.arch.as_str().into()),
        ("LiteEnginePath", lite_engine.into()),
        ("LiteEngineLogsPath", "/var/log/lite-engine.log".into()),
        ("CertDir", certificate("").into()),
        ("CaCertPath", certificate("ca-cert.pem").into()),
        ("CertPath", certificate("server-cert.pem").into()),
        ("KeyPath", certificate("server-key.pem").into()),
        ("IsHosted", false.into()),
        (
            "Tmate",
            json!({
                "Enabled": from_environment("DRONE_TMATE_ENABLED").is_none_or(|text| text != "false"),
                "Image": tmate("DRONE_TMATE_IMAGE"),
                "Server": {
                    "Host": tmate("DRONE_TMATE_HOST"),
                    "Port": tmate("DRONE_TMATE_PORT"),
                    "RSA": tmate("DRONE_TMATE_FINGERPRINT_RSA"),
                    "ED25519": tmate("DRONE_TMATE_FINGERPRINT_ED25519"),
                },
            }),
        ),
    ];
    let addresses = ADDRESSES.into_iter().map(|(name, variable, usual)| {
        let address = from_environment(variable).unwrap_or_else(|| usual.to_owned());
        (name, address.into())
    });
    let all = fixed.into_iter().chain(addresses);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A variable of this process's environment; empty it counts as absent.
pub(super) fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}
