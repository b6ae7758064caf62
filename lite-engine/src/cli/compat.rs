//! Serves the incumbent's protocol until the process is told to stop.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lite_engine::compat::settings::{Above, ServerSettings, Variables};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;

use super::Done;

/// With the settings of `env_file`.
pub(super) fn serve(env_file: &Path, state: PathBuf) -> Done {
    let level = |debug: bool| {
        if debug {
            LevelFilter::DEBUG
        } else {
            LevelFilter::INFO
        }
    };
    // The level is among the settings, and reading them may be told of already.
    let (filter, reload) = tracing_subscriber::reload::Layer::new(level(false));
    tell(filter);
    let settings = ServerSettings::of(Variables::read(env_file, Above::File)?)?;
    // An error means that nobody takes what is told any more.
    let _ = reload.modify(|now| *now = level(settings.debug));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let program = PathBuf::from("/proc/self/exe");
        let serving = lite_engine::compat::run(settings, state, program, stop.clone());
        let mut serving = Box::pin(serving);
        tokio::select! {
            served = &mut serving => served?,
            _ = terminate.recv() => {
                stop.cancel();
                serving.await?;
            }
            _ = interrupt.recv() => {
                stop.cancel();
                serving.await?;
            }
        }
        tracing::info!("stopped; steps that run go on");
        Ok(ExitCode::SUCCESS)
    })
}

fn tell(filter: impl tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync) {
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        // Nobody has to listen: what can't be told is lost, not the agent.
        .log_internal_errors(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
}
