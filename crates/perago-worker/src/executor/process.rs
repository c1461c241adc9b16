//! The life of one executor process: start, ready, bodies, death, replacement.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::frame;
use super::host::Connected;
use super::launch::LAUNCH_VARIABLE;
use super::message::{FromExecutor, LogLine, ToExecutor};
use super::output::{Output, Pipe};
use super::pool::{BodyEnd, Death, Executor, Inner, Live, Readiness};
use super::{recycling, restart, stopping};
use crate::guardian::{ExitStatus, GuardianEvent, SpawnRequest};
use crate::kill_point::{KillPoint, reached};
use crate::logs::{Level, Record};
use crate::worker_instruments::RestartCause;

/// A dead process's last frames are read for this long; only a child that it left can hold the channel open.
const LAST_FRAMES_WITHIN: Duration = Duration::from_millis(200);

/// A process that has closed its channel gets this long to end by itself and so to say how.
const ENDS_ALONE_WITHIN: Duration = Duration::from_secs(1);

/// Keeps the process at `index` alive until the pool stops.
pub(super) async fn keep_alive(pool: Rc<Inner>, index: usize) {
    let mut consecutive: u32 = 0;
    let longest = pool.options.longest_restart_delay;
    while !pool.stopping.get() {
        let started = Instant::now();
        let death = run(&pool, index).await;
        pool.changed.notify_waiters();
        if pool.stopping.get() {
            return;
        }
        if started.elapsed() > restart::PROVEN_AFTER {
            consecutive = 0;
        }
        let cause = restart_cause(&pool.executors[index], &death);
        pool.options.instruments.executor_restarted(cause);
        let is_ours = matches!(cause, RestartCause::BodyStopped | RestartCause::Recycled);
        let delay = if is_ours { Duration::ZERO } else { restart::delay(consecutive, longest) };
        consecutive = if is_ours { consecutive } else { consecutive.saturating_add(1) };
        log_end(&pool, index, cause, delay, death);
        let stopped = async {
            while !pool.stopping.get() {
                pool.changed.notified().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stopped => {}
        }
    }
}

fn log_end(pool: &Inner, index: usize, cause: RestartCause, delay: Duration, death: Death) {
    let how = death.how();
    let (level, event, message) = match cause {
        RestartCause::Recycled => (
            Level::Info,
            "executor_recycled",
            "executor has run as many tasks as it may; restarting".to_owned(),
        ),
        RestartCause::BodyStopped => {
            (Level::Warning, "executor_exited", format!("executor {how} to stop its body; restarting"))
        }
        _ => (Level::Error, "executor_exited", format!("executor {how}; restarting")),
    };
    pool.logger.write(
        Record::new(level, event, message)
            .with("slot", index as u64 + 1)
            .with("cause", cause.code())
            .with("restart_delay_seconds", delay.as_secs_f64())
            .with("stderr", death.last_lines),
    );
}

fn restart_cause(executor: &Executor, death: &Death) -> RestartCause {
    let (is_body_stopped, is_recycled) = (executor.is_body_stopped.take(), executor.is_recycled.take());
    match death.status {
        _ if death.is_stillborn => RestartCause::NotStarted,
        _ if is_body_stopped => RestartCause::BodyStopped,
        Some(ExitStatus::Code(0) | ExitStatus::Signal(libc::SIGKILL)) if is_recycled => {
            RestartCause::Recycled
        }
        _ if death.is_out_of_memory => RestartCause::OutOfMemory,
        Some(ExitStatus::Signal(_)) => RestartCause::Killed,
        Some(ExitStatus::Code(_)) => RestartCause::Exited,
        None => RestartCause::ChannelLost,
    }
}

/// Runs one process from start to death.
async fn run(pool: &Rc<Inner>, index: usize) -> Death {
    let token = pool.next_token.replace(pool.next_token.get() + 1);
    let (sender, events) = mpsc::unbounded_channel();
    pool.by_token.borrow_mut().insert(token, sender);
    pool.executors[index].out_of_memory_before.set(pool.out_of_memory.count());
    let output = Output::default();
    let started = start(pool, index, token, &output).await;
    let death = match started {
        Ok(channel) => serve(pool, index, token, channel, events, &output).await,
        Err(error) => {
            let reason = error.to_string();
            announce(pool, Readiness::Refused(reason.clone()));
            Death::stillborn(reason)
        }
    };
    pool.by_token.borrow_mut().remove(&token);
    // The gauges of a worker that stops hold until its last push has shown them and then ends them all.
    if !pool.stopping.get() {
        pool.options.arenas.end_executor(index as u32);
    }
    let live = pool.executors[index].live.borrow_mut().take();
    for (_, running) in live.map(|live| live.running).unwrap_or_default() {
        let end = match running.refused {
            Some(failure) => BodyEnd::Refused(failure),
            None if running.is_read => BodyEnd::Died(death.clone()),
            None => BodyEnd::NotRead,
        };
        let _ = running.end.send(end);
    }
    pool.changed.notify_waiters();
    announce(pool, Readiness::Died(death.clone()));
    death
}

async fn start(pool: &Rc<Inner>, index: usize, token: u64, output: &Output) -> std::io::Result<Connected> {
    let mut connected = pool.host.spawn(request(pool, index, token)?).await?;
    for (pipe, source) in connected.output.take().into_iter().flatten().zip(["stdout", "stderr"]) {
        let last = (source == "stderr").then(|| output.last_lines.clone());
        let for_lines = Rc::clone(pool);
        let pipe = output.add(Pipe::new(pipe, last, move |text| {
            let attempt = only_running(&for_lines, index);
            for_lines.body_line(raw_line(attempt, source, text));
        })?);
        tokio::task::spawn_local(async move { pipe.follow().await });
    }
    Ok(connected)
}

fn request(pool: &Inner, index: usize, token: u64) -> std::io::Result<SpawnRequest> {
    let options = &pool.options;
    let mut launch = options.launch.clone();
    launch.threads = options.slots_per_process;
    launch.arena = options.arenas.begin_executor(index as u32, &pool.logger);
    // Replacements live: a point that killed each of them would be reached for ever.
    launch.kill_at = launch.kill_at.filter(|_| token <= u64::from(options.processes));
    let slot = index as u32 + 1;
    Ok(SpawnRequest {
        token,
        program: options.program.program.clone(),
        arguments: options.program.arguments.clone(),
        environment: vec![
            (LAUNCH_VARIABLE.to_owned(), serde_json::to_string(&launch)?),
            ("PERAGO_WORKER_ID".to_owned(), format!("{}{slot:04}", options.worker_id_prefix)),
            ("PERAGO_SLOT".to_owned(), slot.to_string()),
            ("PERAGO_SLOTS".to_owned(), options.slots().to_string()),
        ],
    })
}

/// Output that did not come through the channel belongs to the attempt that runs, if it is the only one.
fn only_running(pool: &Inner, index: usize) -> Option<u64> {
    let live = pool.executors[index].live.borrow();
    let running = &live.as_ref()?.running;
    if running.len() == 1 { running.keys().next().copied() } else { None }
}

fn raw_line(attempt: Option<u64>, source: &str, message: String) -> LogLine {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    LogLine {
        attempt,
        level: "INFO".to_owned(),
        source: source.to_owned(),
        message,
        time: since_epoch.as_secs_f64(),
        exception: None,
        fields: serde_json::Map::new(),
    }
}

async fn serve(
    pool: &Rc<Inner>,
    index: usize,
    token: u64,
    channel: Connected,
    mut events: mpsc::UnboundedReceiver<GuardianEvent>,
    output: &Output,
) -> Death {
    let Connected { mut reader, writer, .. } = channel;
    let (outbox, messages) = mpsc::unbounded_channel();
    tokio::task::spawn_local(write_all(Rc::clone(pool), token, writer, messages));
    let frames = async {
        while let Ok(Some(message)) = frame::read_async::<FromExecutor>(&mut reader).await {
            on_message(pool, index, token, &outbox, output, message);
        }
    };
    tokio::pin!(frames);
    let mut frames_ended = false;
    let mut patience = None;
    let mut killed = false;
    let status = loop {
        tokio::select! {
            () = &mut frames, if !frames_ended => {
                frames_ended = true;
                if let Some(live) = pool.executors[index].live.borrow_mut().as_mut() {
                    live.closed = true;
                }
                patience = Some(Instant::now() + ENDS_ALONE_WITHIN);
            }
            () = tokio::time::sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => {
                patience = None;
                killed = true;
                // Without its channel a process is of no use, and may never end by itself.
                pool.host.kill(token, nix::sys::signal::Signal::SIGKILL).await;
            }
            event = events.recv() => match event {
                Some(GuardianEvent::Exited { status, .. }) => break (!killed).then_some(status),
                Some(GuardianEvent::Refused { reason, .. }) => {
                    announce(pool, Readiness::Refused(reason.clone()));
                    return Death::stillborn(reason);
                }
                Some(GuardianEvent::Spawned { pid, .. }) => pool.executors[index].pid.set(pid),
                Some(GuardianEvent::Looked { has_started, .. }) => {
                    stopping::on_looked(pool, index, token, has_started);
                    recycling::end_if_used_up(pool, index);
                }
                None => break None,
            }
        }
    };
    if !frames_ended {
        let _ = tokio::time::timeout(LAST_FRAMES_WITHIN, &mut frames).await;
    }
    // The pipes are read by tasks of their own: let them see what the dead process left.
    tokio::task::yield_now().await;
    let is_ours = pool.executors[index].is_body_stopped.get();
    let is_out_of_memory = status == Some(ExitStatus::Signal(libc::SIGKILL))
        && !is_ours
        && pool.out_of_memory.explains_death(pool.executors[index].out_of_memory_before.get());
    Death { status, last_lines: output.last_lines.text(), is_stillborn: false, is_out_of_memory }
}

async fn write_all(
    pool: Rc<Inner>,
    token: u64,
    mut writer: Box<dyn AsyncWrite + Unpin>,
    mut messages: mpsc::UnboundedReceiver<ToExecutor>,
) {
    while let Some(message) = messages.recv().await {
        if frame::write_async(&mut writer, &message).await.is_err() {
            return;
        }
        // After the message: whoever is told to look finds it.
        if matches!(message, ToExecutor::Cancel(_)) {
            pool.host.interrupt(token).await;
        }
    }
}

fn on_message(
    pool: &Rc<Inner>,
    index: usize,
    token: u64,
    outbox: &mpsc::UnboundedSender<ToExecutor>,
    output: &Output,
    message: FromExecutor,
) {
    let executor = &pool.executors[index];
    match message {
        FromExecutor::Ready(description) => {
            let live = Live {
                token,
                outbox: outbox.clone(),
                running: HashMap::new(),
                last_lines: output.last_lines.clone(),
                code_hash: code_hash_of(&description),
                tasks: 0,
                closed: false,
            };
            *executor.live.borrow_mut() = Some(live);
            if pool.stopping.get() {
                let _ = outbox.send(ToExecutor::Stop);
            }
            announce(pool, Readiness::Ready(Rc::from(description)));
            pool.changed.notify_waiters();
        }
        FromExecutor::Unready(description) => {
            pool.logger.write(
                Record::new(Level::Error, "module_unusable", "the module cannot be used")
                    .with("slot", executor.index + 1)
                    .with("description", serde_json::to_value(&description).unwrap_or_default()),
            );
            announce(pool, Readiness::Unready(Rc::from(description)));
        }
        FromExecutor::Started(attempt) => {
            if let Some(live) = executor.live.borrow_mut().as_mut()
                && let Some(running) = live.running.get_mut(&attempt)
            {
                running.is_read = true;
            }
            reached(KillPoint::InBody);
        }
        FromExecutor::Ended(ended) => {
            output.settle(pool.options.slots_per_process == 1);
            stopping::on_ended(pool, index, token, ended);
            recycling::end_if_used_up(pool, index);
            pool.changed.notify_waiters();
        }
        FromExecutor::Log(line) => {
            if line.source == "stderr" {
                output.last_lines.push(&line.message);
            }
            pool.body_line(*line);
        }
    }
}

/// What an executor says about the code that it has imported, if it does.
fn code_hash_of(description: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        code_hash: Option<String>,
    }
    serde_json::from_str::<Said>(description.get()).ok()?.code_hash
}

/// Only the first word counts: later ones are about replacements.
fn announce(pool: &Inner, state: Readiness) {
    pool.readiness.send_if_modified(|current| {
        let first = matches!(current, Readiness::Pending);
        if first {
            *current = state;
        }
        first
    });
}
