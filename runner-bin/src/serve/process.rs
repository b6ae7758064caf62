//! The life of a serving process: shifts, signals, and its end.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::access::Watches;
use super::args::ServeArgs;
use super::desk::Seat;
use super::doors::Doors;
use super::manager;
use super::metrics::Metrics;
use super::peer::PeerService;
use super::screen;
use super::shift::{self, Shift};
use super::signals::{Signal, Signals};
use super::site::Site;
use super::traces::Exporter;
use super::upgrade::{Next, Predecessor, Serving};
use super::watch::Watch;
use crate::exit::{Exit, OrExit as _, Stopped};

/// How long idle connections are kept by a process that was replaced: who uses
/// one is told to close it, and loses nothing.
const LINGER: Duration = Duration::from_secs(10);

/// How long answers may take to be sent when all is over.
const CLOSING: Duration = Duration::from_secs(5);

/// Between two tries to have its place back.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs until a signal stops it.
///
/// # Errors
/// An option, a file or the host can't be used, or the runner can't go on.
pub(crate) fn serve(args: ServeArgs) -> Result<Exit, Stopped> {
    let exporter = screen::log(&args).or_exit(Exit::BadInput)?;
    // Fails only where it was done before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = Runtime::new().context("start the runtime");
    let runtime = runtime.or_exit(Exit::Failed)?;
    let exit = runtime.block_on(run(args, exporter));
    // Calls to the provider may block; the next process makes them again.
    runtime.shutdown_background();
    exit
}

async fn run(args: ServeArgs, exporter: Option<Exporter>) -> Result<Exit, Stopped> {
    let mut signals = Signals::catch().or_exit(Exit::Failed)?;
    // Before anything counts.
    let metrics = Metrics::install(args.journal.is_some());
    let metrics = metrics.context("record metrics").or_exit(Exit::Failed)?;
    let (predecessor, inherited) = if args.replace {
        let (predecessor, sockets) = Predecessor::meet().or_exit(Exit::BadInput)?;
        (Some(predecessor), sockets)
    } else {
        (None, HashMap::new())
    };
    // Before the file is read for the first time.
    let mut watch = Watch::begin(args.pool.clone());
    let mut files = Watches::begin(&args.access);
    let site = Site::new(args, |args| Doors::open(args, inherited), metrics)?;
    let shift = match predecessor {
        None => begin(&site).await?,
        Some(predecessor) => replace(&site, predecessor).await.or_exit(Exit::Failed)?,
    };
    screen::first(&site);
    manager::serves();
    let keys = async {
        loop {
            files.changed().await;
            site.access.reload();
        }
    };
    let working = async {
        tokio::select! {
            exit = work(&site, shift, &mut signals, &mut watch) => exit.or_exit(Exit::Failed),
            () = site.metrics.keep() => Ok(Exit::Failed),
            () = keys => Ok(Exit::Failed),
            () = manager::reassure(&site) => Ok(Exit::Failed),
        }
    };
    let exit = Box::pin(Exporter::send_until(exporter, working)).await;
    exit.or_exit(Exit::BadInput)?
}

async fn begin(site: &Site) -> Result<Shift, Stopped> {
    let lock = shift::lock(site).await.or_exit(Exit::BadInput)?;
    Shift::begin(site, lock).await.or_exit(Exit::Failed)
}

/// Takes the place of `predecessor`, and answers what it relays.
async fn replace(site: &Site, mut predecessor: Predecessor) -> anyhow::Result<Shift> {
    predecessor.wait_for_go().await?;
    let shift = Shift::begin(site, shift::lock(site).await?).await?;
    let channel = predecessor.serving().await;
    let channel = channel.context("say to the runner that is replaced that this one serves")?;
    let routes = PeerService::for_predecessor(site.desk.clone());
    site.connections.keep(channel, routes);
    Ok(shift)
}

/// Works from shift to shift until a signal ends it.
///
/// A further signal to upgrade is passed over while a new process comes up, and
/// tried after one that did not. A signal to stop ends the attempt before GO;
/// after it, it waits until it is decided which process goes on, and stops this one.
/// Reading the pool file again is broken off by any signal, and begun anew after it.
async fn work(
    site: &Site,
    mut shift: Shift,
    signals: &mut Signals,
    watch: &mut Watch,
) -> anyhow::Result<Exit> {
    let mut to_reload = false;
    loop {
        let signal = tokio::select! {
            biased;
            signal = signals.next() => signal,
            () = watch.changed() => Signal::Reload,
            () = shift.reload(site), if to_reload => {
                manager::serves();
                to_reload = false;
                continue;
            }
        };
        match signal {
            Signal::Stop(signal) => return Ok(stop(site, Some(shift), signals, signal).await),
            Signal::Reload => {
                site.access.reload();
                manager::reloads();
                to_reload = true;
                continue;
            }
            Signal::Upgrade => {}
        }
        tracing::info!(program = %site.program.display(), "a new process is to take over");
        let next = tokio::select! {
            next = Next::start(&site.program, &site.doors) => next,
            signal = signals.stop() => {
                return Ok(stop(site, Some(shift), signals, signal).await);
            }
        };
        let next = match next {
            Ok(next) => next,
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::error!(error, "no upgrade: this process goes on");
                continue;
            }
        };
        tracing::info!(
            process = next.id(),
            "the new process is ready: handing over"
        );
        site.desk.seat(Seat::Empty);
        shift.end().await;
        match next.go().await {
            Ok(serving) => return Ok(leave(site, serving, signals).await),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::new(error));
                tracing::error!(error, "no upgrade: this process takes its place back");
            }
        }
        shift = tokio::select! {
            shift = take_back(site) => shift,
            signal = signals.stop() => return Ok(stop(site, None, signals, signal).await),
        };
    }
}

/// Goes on after an upgrade that failed, however long that takes: what is in
/// flight waits here meanwhile.
async fn take_back(site: &Site) -> Shift {
    loop {
        let taken = async { Shift::begin(site, shift::lock(site).await?).await };
        match taken.await {
            Ok(shift) => return shift,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "this process has not its place back yet");
                site.desk.seat(Seat::Empty);
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The end by a signal: no build ends with it.
async fn stop(site: &Site, shift: Option<Shift>, signals: &mut Signals, signal: &str) -> Exit {
    let grace = site.args.grace;
    tracing::info!(
        signal,
        ?grace,
        "stopping; builds go on, the next runner takes them over"
    );
    manager::stops();
    site.desk.stop();
    let ending = async {
        // Without a shift nobody answers what waits.
        if shift.is_some() && timeout(grace, site.desk.idle()).await.is_err() {
            tracing::info!("requests that still wait are told to come again");
        }
        site.desk.seat(Seat::Gone);
        if let Some(shift) = shift {
            shift.end().await;
        }
        site.connections.close(CLOSING).await;
    };
    tokio::select! {
        () = ending => {
            tracing::info!("stopped");
            Exit::Success
        }
        signal = signals.stop() => {
            tracing::warn!(signal, "stopped at once");
            Exit::Interrupted
        }
    }
}

/// The end of a process that was replaced: its requests are relayed until they end.
async fn leave(site: &Site, mut serving: Serving, signals: &mut Signals) -> Exit {
    tracing::info!("the new process serves; what is in flight here is relayed to it");
    if let Some(pid) = serving.id() {
        manager::goes_on_as(pid);
    }
    site.desk.seat(Seat::Successor(serving.successor.clone()));
    let relayed = async {
        site.desk.idle().await;
        // Who is still connected, and idle, may just be about to ask something.
        let _ = timeout(LINGER, site.connections.ended()).await;
        site.desk.idle().await;
    };
    tokio::select! {
        () = relayed => {}
        status = serving.ended() => {
            tracing::info!(status, "the new process has ended, too; callers are told to come again");
        }
        signal = signals.stop() => {
            tracing::info!(signal, "requests that are relayed are told to come again");
        }
    }
    site.desk.seat(Seat::Gone);
    site.connections.close(CLOSING).await;
    tracing::info!("this process is replaced");
    Exit::Success
}
