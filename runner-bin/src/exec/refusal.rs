//! What of a file can't be carried out on this host, and what is carried out
//! otherwise than the file says.

use vmpool_pipeline::{Platform, Step, Workspace};

/// Why a step can't run here, in one sentence that says what to do, if it can't.
pub(super) fn refusal(step: &Step, ignore_image: bool) -> Option<String> {
    let has_commands = !step.commands.is_empty();
    match &step.image {
        Some(image) if has_commands && !ignore_image => Some(format!(
            "it asks for the image {image}, and steps can't run in containers here yet: \
             --ignore-image runs its commands on this host instead"
        )),
        Some(image) if !has_commands => {
            let kind = if step.settings.is_empty() {
                "image"
            } else {
                "plugin"
            };
            Some(format!(
                "it is the {kind} {image} without commands of its own, and steps can't run in \
                 containers here yet: --exclude {} leaves it out",
                step.name
            ))
        }
        None if !has_commands && step.entrypoint.is_empty() => {
            Some("it has no commands to run".to_owned())
        }
        _ => None,
    }
}

/// What is said of a pipeline whose platform is not this host.
pub(super) fn other_platform(platform: &Platform) -> Option<String> {
    let os = platform.os.as_deref().filter(|os| *os != host_os());
    let arch = platform.arch.as_deref().filter(|arch| *arch != host_arch());
    (os.is_some() || arch.is_some()).then(|| {
        format!(
            "it is for {}/{} and runs on this host, which is {}/{}",
            platform.os.as_deref().unwrap_or("any"),
            platform.arch.as_deref().unwrap_or("any"),
            host_os(),
            host_arch()
        )
    })
}

/// What is said of a workspace at a place that only a container can have.
pub(super) fn moved_workspace(workspace: &Workspace) -> Option<String> {
    let base = workspace
        .base
        .as_deref()
        .filter(|base| base.starts_with('/'))?;
    Some(format!(
        "its workspace {base} is below the machine's own folder here; DRONE_WORKSPACE says where"
    ))
}

/// This host's operating system, as Drone calls it.
pub(super) fn host_os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    }
}

/// This host's architecture, as Drone calls it.
pub(super) fn host_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        arch => arch,
    }
}
