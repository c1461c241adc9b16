//! The way between worker and engine, on which requests and answers are late, or lost.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use perago_conductor::{Answer, ExchangeFailure, InProcessServer};
use perago_dev::InProcess;
use tokio::time::sleep;

const SHORTEST_WAY: Duration = Duration::from_micros(200);
const LONGEST_WAY: Duration = Duration::from_millis(20);
const LATEST: Duration = Duration::from_secs(45);
const ONE_IS_LOST_IN: u32 = 500;

/// What is wrong with the server for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Connections are refused.
    Refuses,
    /// Requests vanish.
    Swallows,
    /// Requests arrive and are acted on, but no answer comes back.
    LosesAnswers,
    /// A proxy answers in the place of the server.
    Unavailable,
}

impl Trouble {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Refuses, Self::Swallows, Self::LosesAnswers, Self::Unavailable];
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy)]
enum Passage {
    Troubled(Trouble),
    /// The answer is lost, and the client hears that the connection broke.
    Breaks,
    /// It arrives so much later, perhaps after its client has given up.
    Late(Duration),
    Plain,
}

/// Counts of requests.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Traffic {
    /// All.
    pub requests: u64,
    /// Those that met an outage.
    pub troubled: u64,
    /// Lost or late outside of outages.
    pub disturbed: u64,
}

struct State {
    source: Rng,
    trouble: Option<Trouble>,
    traffic: Traffic,
}

/// The network.
pub(super) struct Network {
    engine: InProcess,
    state: Mutex<State>,
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Network").finish_non_exhaustive()
    }
}

impl Network {
    /// A way to an engine on which nothing is wrong but what always is.
    pub fn new(engine: InProcess, seed: u64) -> Self {
        let state = State { source: Rng::with_seed(seed ^ 7), trouble: None, traffic: Traffic::default() };
        Self { engine, state: Mutex::new(state) }
    }

    /// Begins or ends an outage.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        self.state().trouble = trouble;
    }

    /// What has passed so far.
    pub fn traffic(&self) -> Traffic {
        self.state().traffic
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn passage(&mut self) -> Passage {
        self.traffic.requests += 1;
        if let Some(trouble) = self.trouble {
            self.traffic.troubled += 1;
            return Passage::Troubled(trouble);
        }
        let passage = match self.source.u32(0..ONE_IS_LOST_IN) {
            0 => Passage::Troubled(Trouble::ALL[self.source.usize(0..Trouble::ALL.len())]),
            1 => Passage::Breaks,
            2 => Passage::Late(LATEST.mul_f64(self.source.f64())),
            _ => return Passage::Plain,
        };
        self.traffic.disturbed += 1;
        passage
    }

    fn way(&mut self) -> Duration {
        SHORTEST_WAY + LONGEST_WAY.saturating_sub(SHORTEST_WAY).mul_f64(self.source.f64().powi(4))
    }
}

impl InProcessServer for Network {
    fn answer(&self, method: &str, path_and_query: String, body: Vec<u8>) -> Answer {
        let (passage, there, back) = {
            let mut state = self.state();
            (state.passage(), state.way(), state.way())
        };
        let (engine, method) = (self.engine.clone(), method.to_owned());
        let serve = async move { engine.answer(&method, &path_and_query, body).await };
        Box::pin(async move {
            sleep(there).await;
            let late = match passage {
                Passage::Troubled(Trouble::Refuses) => {
                    return Err(ExchangeFailure::Connect("connection refused".to_owned()));
                }
                Passage::Troubled(Trouble::Swallows) => std::future::pending().await,
                Passage::Troubled(Trouble::Unavailable) => return Ok((503, b"<html>".to_vec())),
                Passage::Late(late) => late,
                Passage::Troubled(Trouble::LosesAnswers) | Passage::Breaks | Passage::Plain => Duration::ZERO,
            };
            // A task of its own: what has left arrives, whatever becomes of its sender.
            let served = tokio::spawn(async move {
                sleep(late).await;
                serve.await
            });
            let answer = served.await.map_err(|error| ExchangeFailure::Interrupted(error.to_string()))?;
            match passage {
                Passage::Breaks => Err(ExchangeFailure::Interrupted("connection reset".to_owned())),
                Passage::Troubled(_) => std::future::pending().await,
                _ => {
                    sleep(back).await;
                    Ok(answer)
                }
            }
        })
    }
}
