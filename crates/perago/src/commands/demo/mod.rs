//! `perago demo`: the packaged audio pipeline on embedded services, from start to finish in this one command.

mod folder;
mod metrics;
mod outcome;
mod pipeline;
mod prepare;
mod progress;
mod store;
mod style;
mod worker;

use std::time::Instant;

use perago_conductor::{Address, Client, ClientOptions};
use perago_dev::{DevHandle, DevOptions, DevServer};
use tokio::signal::unix::{SignalKind, signal};

use self::folder::Folder;
use self::metrics::Moved;
use self::outcome::Song;
use self::progress::Progress;
use self::store::Store;
use self::style::Style;
use self::worker::Workers;
use crate::arguments::DemoOptions;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::{DemoMaterial, ExitStatus, Host};

/// Runs the demo.
pub(crate) fn run(options: &DemoOptions, host: &Host, printer: &Printer) -> Result<ExitStatus, Failure> {
    let Some(material) = &host.demo else {
        return Err(Failure::new("this program has no demo").with_status(ExitStatus::Usage));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
    let outcome = runtime.block_on(supervise(options, host, material, printer));
    // A description in flight must not hold up Ctrl-C; its process dies with ours.
    runtime.shutdown_background();
    outcome
}

async fn supervise(
    options: &DemoOptions,
    host: &Host,
    material: &DemoMaterial,
    printer: &Printer,
) -> Result<ExitStatus, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(internal)?;
    let folder = Folder::create()?;
    let mut workers = Workers::default();
    let mut demo =
        Demo { host, material, printer, folder: &folder, style: Style::detect(), workers: &mut workers };
    let outcome = tokio::select! {
        outcome = demo.show(options.songs) => Some(outcome),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
        _ = hangup.recv() => None,
    };
    match outcome {
        Some(Ok(())) => Ok(ExitStatus::Success),
        Some(Err(failure)) => {
            workers.stop_now().await;
            Err(failure.with_last_hint(format!("files and logs are kept in {}", folder.keep().display())))
        }
        None => {
            workers.stop_now().await;
            printer.warning("stopped before every song was done");
            Ok(ExitStatus::Forced)
        }
    }
}

/// What every step needs.
struct Demo<'a> {
    host: &'a Host,
    material: &'a DemoMaterial,
    printer: &'a Printer,
    folder: &'a Folder,
    style: Style,
    workers: &'a mut Workers,
}

impl Demo<'_> {
    async fn show(&mut self, song_count: u32) -> Result<(), Failure> {
        let began = Instant::now();
        let server = DevServer::start(DevOptions::default()).await?;
        let progress = Progress::start(u64::from(song_count) * pipeline::STEPS.len() as u64);
        self.printer.output(&self.style.bold(&format!(
            "Perago {}: {} through {}",
            crate::VERSION,
            counted(song_count as usize, "song"),
            pipeline::STEPS.map(|step| step.task_name).join(" → "),
        )));
        self.printer.output(&self.style.dim(&format!(
            "embedded Conductor engine, lakeFS store and OTLP receiver on {}",
            server.base_url()
        )));
        progress.say("describing the tasks and playing the songs");
        let prepared = prepare::prepare(self.host, self.material, self.folder, song_count).await?;
        let client = client(&server)?;
        pipeline::register(&client, &prepared.task_defs).await?;
        let store = Store::create(&server).await?;
        progress.say("starting the workers");
        self.workers.start(&self.material.command, self.folder, &prepared.modules, &server).await?;
        self.printer.output(&self.style.dim(&format!(
            "{} ready after {:.1} s",
            counted(prepared.modules.len(), "worker"),
            began.elapsed().as_secs_f64()
        )));
        progress.say("");
        let mut show_song = |song: &Song| {
            progress.suspend(|| self.printer.output(&song.lines(self.style)));
        };
        let services = (&client, &store);
        let set_done = |done| progress.set(done, || Moved::of(&server.metric_series()));
        let commits =
            pipeline::run(services, &prepared.songs, self.workers, set_done, &mut show_song).await?;
        progress.say("stopping the workers");
        // Their last push brings the final totals.
        self.workers.stop().await?;
        progress.finish();
        let series = server.metric_series();
        let metrics = metrics::collect(&series);
        metrics::check(&metrics, song_count)?;
        self.printer.output(&metrics::lines(&metrics, self.style));
        self.printer.output(&self.style.good(&format!(
            "\ndone in {:.1} s: {}, {}, {}, {} in {} series; nothing is left running",
            began.elapsed().as_secs_f64(),
            counted(song_count as usize, "workflow"),
            counted(song_count as usize * pipeline::STEPS.len(), "task"),
            counted(commits, "commit"),
            counted(metrics.len(), "metric"),
            series.len(),
        )));
        self.printer.output(&self.style.dim(&format!(
            "each task is a module: `perago start {}` runs one on servers of your own",
            self.material.module_of(pipeline::STEPS[1].task_name)
        )));
        drop((client, store));
        server.shutdown().await;
        Ok(())
    }
}

fn client(server: &DevHandle) -> Result<Client, Failure> {
    let address = Address::parse(&server.conductor_url()).map_err(internal)?;
    Client::new(&ClientOptions::new(address)).map_err(conductor)
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A failure of the system or of ours.
fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string()).with_status(ExitStatus::Internal)
}

/// A failed call to the embedded engine.
fn conductor(error: impl std::fmt::Display) -> Failure {
    internal(format!("the embedded engine refused: {error}"))
}
