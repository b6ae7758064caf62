//! `vmpool stage cancel`.

use vmpool_proto::v1::{CancelStageRequest, CancelStepRequest};

use super::args::CancelArgs;
use crate::client::whoami;
use crate::exit::{Exit, Stopped};
use crate::out::say;
use crate::screen::printable;

pub(super) async fn cancel(args: &CancelArgs) -> Result<Exit, Stopped> {
    let runner = args.runner.open().await?;
    let stage = &args.stage;
    if let Some(step) = &args.step {
        let request = CancelStepRequest {
            stage_id: stage.clone(),
            step_id: step.clone(),
        };
        runner.cancel_step(request).await?;
        let (stage, step) = (printable(stage), printable(step));
        say(format_args!(
            "step {step} of stage {stage} is cancelled, if it had not ended\n"
        ))?;
    } else {
        let request = CancelStageRequest {
            stage_id: stage.clone(),
            by: whoami(),
            why: args.why.clone(),
        };
        runner.cancel_stage(request).await?;
        let stage = printable(stage);
        say(format_args!(
            "stage {stage} has ended; its machine is ended now\n"
        ))?;
    }
    Ok(Exit::Success)
}
