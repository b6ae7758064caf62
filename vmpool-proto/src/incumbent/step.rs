//! `POST /start_step`: one command of a stage.

use std::collections::BTreeMap;

json! {
    /// The body of `/start_step`.
    pub struct StartStepRequest {
        /// By this id it is polled.
        pub id: String,
        /// What people call it.
        pub name: String,
        /// The stage, where results are told to a manager.
        pub stage_runtime_id: String,
        /// Nobody waits for its end.
        pub detach: bool,
        /// Above the stage's. The incumbent needs it, if only empty.
        pub environment: Option<BTreeMap<String, String>>,
        /// By this key its log is stored.
        pub log_key: String,
        /// Its output is read by `/stream_output`.
        pub log_drone: bool,
        /// Values that its log may not show, besides the stage's.
        pub secrets: Vec<String>,
        /// Where it begins.
        pub working_dir: String,
        /// `Run`, `RunTest` or `RunTestsV2`; anything else is `Run`. See [`StartStepRequest::kind`].
        pub kind: String,
        /// For `Run`.
        pub run: Run,
        /// For `RunTest`.
        pub run_test: RunTest,
        /// For `RunTestsV2`.
        pub run_test_v2: RunTests,
        /// It is asked to end, and forced to only later.
        pub soft_stop: bool,
        /// Who opens and closes the stream of its log.
        pub log_config: super::LogConfig,
        /// The service for test selection, where setup named none.
        pub ti_config: super::TiConfig,
        /// A client certificate for plugins.
        pub mtls_config: super::MtlsConfig,
        /// Where its annotations go.
        pub annotations_config: AnnotationsConfig,
        /// Variables to return, by their names.
        pub output_vars: Vec<String>,
        /// Variables to return, and what they are called then.
        pub outputs: Vec<WantedOutput>,
        /// Where it writes variables to return.
        pub output_var_file: String,
        /// Where it writes variables to return that are secrets.
        pub secret_var_file: String,
        /// Where it may leave what nobody needs.
        pub scratch_dir: String,
        /// Files that were made for it go with it.
        pub delete_temp_step_files: bool,
        /// Where its test results are.
        pub test_report: TestReport,
        /// From its start, in seconds; 0: as long as it takes.
        pub timeout: i64,
        /// `false`: its container has no socket of the container engine.
        pub mount_docker_socket: Option<bool>,
        /// For the image's registry.
        pub auth: Auth,
        /// Of its container.
        pub cpu_period: i64,
        /// Of its container.
        pub cpu_quota: i64,
        /// Of its container.
        pub cpu_shares: i64,
        /// Of its container.
        pub cpu_set: Vec<String>,
        /// Of its container.
        pub devices: Vec<Device>,
        /// Of its container.
        pub dns: Vec<String>,
        /// Of its container.
        pub dns_search: Vec<String>,
        /// Of its container.
        pub extra_hosts: Vec<String>,
        /// Nothing is done with it.
        pub ignore_stderr: bool,
        /// Nothing is done with it.
        pub ignore_stdout: bool,
        /// Its container's; none: it runs on the machine itself.
        pub image: String,
        /// Of its container.
        pub labels: BTreeMap<String, String>,
        /// Of its container.
        pub memswap_limit: i64,
        /// Of its container.
        pub mem_limit: i64,
        /// Of its container.
        pub network: String,
        /// Of its container.
        pub networks: Vec<String>,
        /// Of its container.
        pub network_aliases: Vec<String>,
        /// Of its container.
        pub port_bindings: BTreeMap<String, String>,
        /// Of its container.
        pub privileged: bool,
        /// When the image is fetched.
        pub pull: String,
        /// Of its container.
        pub shm_size: i64,
        /// Whose process it is.
        pub user: String,
        /// Of its container.
        pub volumes: Vec<VolumeMount>,
        /// Files that are written before it begins.
        pub files: Vec<super::File>,
        /// Whom its result is told.
        pub step_status: StepStatusTarget,
        /// How its processes are ended.
        pub process_config: ProcessConfig,
        /// Who it may say that it is.
        pub workload_identities: Vec<WorkloadIdentity>,
        /// Where tokens of a workload identity come from.
        pub wi_token_generate_url: String,
    }

    /// A command.
    pub struct Run {
        /// Further arguments; of a shell, the script.
        pub commands: Vec<String>,
        /// The program and its first arguments.
        pub entrypoint: Vec<String>,
        /// Nothing is done with it.
        pub binary: Option<serde_json::Value>,
    }

    /// Tests whose command line the agent makes.
    pub struct RunTest {
        /// For the build tool.
        pub args: String,
        /// The shell.
        pub entrypoint: Vec<String>,
        /// Before the tests.
        pub pre_command: String,
        /// After the tests.
        pub post_command: String,
        /// Such as `maven`.
        pub build_tool: String,
        /// Such as `java`.
        pub language: String,
        /// Whose calls are recorded.
        pub packages: String,
        /// Tests that nothing changed for are left out.
        pub run_only_selected_tests: bool,
        /// What tests are marked with.
        pub test_annotations: String,
        /// How tests are split over machines.
        pub test_split_strategy: String,
        /// They are.
        pub parallelize_tests: bool,
        /// Where tests are.
        pub test_globs: String,
    }

    /// Tests by the user's own command.
    pub struct RunTests {
        /// As those of [`Run`].
        pub commands: Vec<String>,
        /// As that of [`Run`].
        pub entrypoint: Vec<String>,
        /// Where tests are.
        pub test_globs: Vec<String>,
        /// Tests that nothing changed for are left out.
        pub intelligence_mode: bool,
    }

    /// Where annotations go.
    pub struct AnnotationsConfig {
        /// For the service.
        pub token: String,
        /// The service.
        pub base_url: String,
    }

    /// A variable to return.
    pub struct WantedOutput {
        /// What it is called then.
        pub key: String,
        /// Its name in the step's environment.
        pub value: String,
        /// `STRING` or `SECRET`.
        #[serde(rename = "type")]
        pub kind: String,
    }

    /// Where test results are.
    pub struct TestReport {
        /// Of which kind.
        pub kind: String,
        /// For the kind `Junit`.
        pub junit: Junit,
    }

    /// Where test results are.
    pub struct Junit {
        /// Patterns, relative to the working directory.
        pub paths: Vec<String>,
    }

    /// For an image's registry.
    pub struct Auth {
        /// Which.
        pub address: String,
        /// Who.
        pub username: String,
        /// With what.
        pub password: String,
    }

    /// A device of the machine that a container has.
    pub struct Device {
        /// Its name.
        pub name: String,
        /// Where it is in the container.
        pub path: String,
    }

    /// A volume that a container has.
    pub struct VolumeMount {
        /// The volume.
        pub name: String,
        /// Where it is in the container.
        pub path: String,
    }

    /// Whom a result is told.
    pub struct StepStatusTarget {
        /// Where.
        pub endpoint: String,
        /// For it.
        pub token: String,
        /// Whose.
        pub account_id: String,
        /// Who waits.
        pub delegate_id: String,
        /// For what.
        pub task_id: String,
        /// In which shape.
        pub runner_response: bool,
        /// In which shape.
        pub task_status_v2: bool,
    }

    /// How processes are ended.
    pub struct ProcessConfig {
        /// Nothing is done with it here.
        pub wait_on_process_group: bool,
        /// The following two count.
        pub kill_process_on_context_cancel: bool,
        /// So often they are asked.
        pub kill_process_max_sigterm_attempts: i64,
        /// In between, in seconds.
        pub kill_process_retry_interval_secs: i64,
        /// Nothing is done with it here.
        pub kill_process_use_explicit_tree_strategy: bool,
    }

    /// Who a step may say that it is.
    pub struct WorkloadIdentity {
        /// By this name it is asked for.
        pub name: String,
        /// With it the agent gets tokens for the step.
        pub workload_token: String,
        /// Whom the tokens are for.
        pub audience: String,
        /// Which kind of token.
        pub token_mode: String,
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A command.
    Run,
    /// Tests whose command line the agent makes.
    RunTest,
    /// Tests by the user's own command.
    RunTests,
}

impl StartStepRequest {
    /// What the step does. A name that nobody knows is a command.
    pub fn kind(&self) -> StepKind {
        match self.kind.as_str() {
            "RunTest" => StepKind::RunTest,
            "RunTestsV2" => StepKind::RunTests,
            _ => StepKind::Run,
        }
    }

    /// Its environment, empty where it has none.
    pub fn environment(&self) -> BTreeMap<String, String> {
        self.environment.clone().unwrap_or_default()
    }
}
