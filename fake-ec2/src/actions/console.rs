//! `GetConsoleOutput`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::actions::answer;
use crate::clock::iso;
use crate::cloud::Context;
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

pub(crate) fn get_console_output(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let id = params.required("InstanceId")?;
    context.named_instances(&[id])?;
    let text = context.region.consoles.get(id);
    Ok(answer("GetConsoleOutputResponse")
        .with("instanceId", id)
        .with("timestamp", iso(context.now))
        .maybe("output", text.map(|text| STANDARD.encode(text))))
}
