//! `lite-engine client`: asks an agent over the incumbent's protocol.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use lite_engine::compat::Caller;
use lite_engine::compat::settings::{Above, ClientSettings, Variables};
use vmpool_proto::incumbent::{
    DestroyAnswer, DestroyRequest, Health, Network, PollRequest, PollStepAnswer, Run, SetupRequest,
    StartStepRequest,
};

use super::Done;

/// Asks an agent whether it is well; or has it run a stage.
#[derive(Args)]
pub(crate) struct Client {
    /// Settings; the process's own environment counts above them.
    #[arg(long, value_name = "FILE", default_value = ".env")]
    env_file: PathBuf,

    /// Runs a stage of two steps and destroys it. The machine has served then.
    #[arg(long)]
    stage: bool,
}

/// Something that the agent answers to any request.
type Empty = std::collections::BTreeMap<String, String>;

impl Client {
    pub(crate) fn run(self) -> Done {
        let variables = Variables::read(&self.env_file, Above::Process)?;
        let caller = Caller::new(&ClientSettings::of(&variables)?)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let health: Health = caller.get("/healthz").await?;
            println!("version {}, ok: {}", health.version, health.ok);
            if !self.stage {
                return Ok(code(health.ok));
            }
            run_stage(&caller).await
        })
    }
}

async fn run_stage(caller: &Caller) -> Done {
    let setup = SetupRequest {
        network: Network {
            id: "drone".into(),
            ..Network::default()
        },
        mount_docker_socket: Some(false),
        ..SetupRequest::default()
    };
    let _: Empty = caller.post("/setup", &setup).await?;
    let mut well = true;
    for (id, script) in [("step1", "echo hello"), ("step2", "uname -a")] {
        let step = StartStepRequest {
            id: id.into(),
            name: id.into(),
            environment: Some(Empty::new()),
            log_drone: true,
            run: Run {
                entrypoint: vec!["sh".into(), "-c".into()],
                commands: vec![script.into()],
                ..Run::default()
            },
            ..StartStepRequest::default()
        };
        let _: Empty = caller.post("/start_step", &step).await?;
        let poll = PollRequest { id: id.into() };
        let answer: PollStepAnswer = caller.post("/poll_step", &poll).await?;
        println!(
            "{id}: exit code {} {}",
            answer.exit_code,
            answer.error.trim()
        );
        well &= answer.exit_code == 0;
    }
    let _: DestroyAnswer = caller.post("/destroy", &DestroyRequest::default()).await?;
    println!("destroyed");
    Ok(code(well))
}

fn code(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
