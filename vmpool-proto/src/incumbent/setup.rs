//! `POST /setup`: what all steps of a stage share.

use std::collections::BTreeMap;

json! {
    /// The body of `/setup`.
    pub struct SetupRequest {
        /// The environment of all steps.
        pub envs: BTreeMap<String, String>,
        /// The containers' network.
        pub network: Network,
        /// What steps share on the disk.
        pub volumes: Vec<Volume>,
        /// Values that no log may show.
        pub secrets: Vec<String>,
        /// Where logs go.
        pub log_config: LogConfig,
        /// The service for test selection.
        pub ti_config: TiConfig,
        /// Files that are written before the first step.
        pub files: Vec<File>,
        /// `false`: setup does not look for a container engine.
        pub mount_docker_socket: Option<bool>,
        /// Containers get a terminal.
        pub tty: bool,
        /// A client certificate for plugins.
        pub mtls_config: MtlsConfig,
        /// Of the image that a machine was made from; nothing is done with it.
        pub vm_image_config: Option<serde_json::Value>,
        /// In seconds; nothing is done with it.
        pub timeout: i64,
        /// The key of the agent's own log.
        pub le_log_key: String,
        /// The key of the log of the machine's figures.
        pub memory_metrics_log_key: String,
        /// How steps may reach out.
        pub egress_policy: Option<serde_json::Value>,
    }

    /// The network that a stage's containers are on.
    pub struct Network {
        /// Its name.
        pub id: String,
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Options of its driver.
        pub options: BTreeMap<String, String>,
    }

    /// One of two kinds.
    pub struct Volume {
        /// A path of the machine.
        pub host: Option<HostVolume>,
        /// One that lasts as long as the stage.
        pub temp: Option<TempVolume>,
    }

    /// A path of the machine.
    pub struct HostVolume {
        /// Its id.
        pub id: String,
        /// By this name steps mount it.
        pub name: String,
        /// Where it is; created where it is missing.
        pub path: String,
        /// Nothing is done with it.
        pub create: bool,
        /// Nothing is done with it.
        pub remove: bool,
        /// Labels.
        pub labels: BTreeMap<String, String>,
        /// Containers may not write to it.
        pub read_only: bool,
    }

    /// A volume of the container engine.
    pub struct TempVolume {
        /// Its name there.
        pub id: String,
        /// By this name steps mount it.
        pub name: String,
        /// `memory`, or none.
        pub medium: String,
        /// In bytes.
        pub size_limit: i64,
        /// Labels.
        pub labels: BTreeMap<String, String>,
    }

    /// Where logs go.
    pub struct LogConfig {
        /// Whose.
        pub account_id: String,
        /// Whole logs go to the service itself, not to a link that it gives.
        pub indirect_upload: bool,
        /// The log service; none: logs are files of the machine.
        pub url: String,
        /// For the log service.
        pub token: String,
        /// Lines go without their newline.
        pub trim_new_line_suffix: bool,
        /// What else logs may not show.
        pub sanitize_config: SanitizeConfig,
        /// Another opens the stream of a log.
        pub skip_opening_stream: bool,
        /// Another closes it.
        pub skip_closing_stream: bool,
        /// Lines go to standard output too.
        pub dual_logging_enabled: bool,
    }

    /// What else logs may not show.
    pub struct SanitizeConfig {
        /// Regular expressions, one a line, in base64.
        pub sanitize_patterns_content: String,
    }

    /// The service for test selection.
    pub struct TiConfig {
        /// Where it is.
        pub url: String,
        /// For it.
        pub token: String,
        /// Whose.
        pub account_id: String,
        /// Whose.
        pub org_id: String,
        /// Whose.
        pub project_id: String,
        /// Of this build.
        pub pipeline_id: String,
        /// Of this build.
        pub stage_id: String,
        /// Of this build.
        pub build_id: String,
        /// What is built.
        pub repo: String,
        /// What is built.
        pub sha: String,
        /// What is built.
        pub source_branch: String,
        /// What is built.
        pub target_branch: String,
        /// What is built.
        pub commit_branch: String,
        /// What is built.
        pub commit_link: String,
    }

    /// A file that steps find.
    pub struct File {
        /// Where.
        pub path: String,
        /// Permission bits, as a decimal number: 511 is 0777.
        pub mode: u32,
        /// What is in it.
        pub data: String,
        /// It is a directory.
        pub is_dir: bool,
    }

    /// A client certificate for plugins.
    pub struct MtlsConfig {
        /// In base64.
        pub client_cert: String,
        /// In base64.
        pub client_cert_key: String,
        /// Where plugins look for them.
        pub client_cert_dir_path: String,
    }
}
