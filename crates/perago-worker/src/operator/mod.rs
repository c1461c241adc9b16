//! What operators see of a running worker and tell it: health over HTTP, the service manager, pause and resume.

mod condition;
mod health;
mod pause;
mod service_manager;

use std::rc::Rc;
use std::time::Duration;

pub use condition::{Condition, Reason, Report};
pub use pause::{Pause, PauseError, PauseMarker};
use tokio::task::spawn_local;

use crate::logs::{Level, Logger, Record};
use crate::settings::Settings;
use crate::worker_error::WorkerError;
pub(crate) use service_manager::OWN_VARIABLES as SERVICE_MANAGER_VARIABLES;
use service_manager::ServiceManager;

/// How often the marker of `perago pause` and the worker's state are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The operators' side of one worker.
#[derive(Debug)]
pub(crate) struct Operator {
    /// What the worker does.
    pub condition: Condition,
    manager: Rc<ServiceManager>,
}

impl Operator {
    /// Answers probes and feeds the service manager from now on, for as long as the supervisor's loop runs.
    /// Needs a `LocalSet`.
    ///
    /// # Errors
    /// [`WorkerError::HealthListen`] when the address cannot be listened on.
    pub async fn attend(
        settings: &Settings,
        condition: Condition,
        logger: &Logger,
    ) -> Result<Self, WorkerError> {
        if let Some(address) = settings.health_listen {
            let refused = |reason| WorkerError::HealthListen { address, reason };
            let listener = health::listen(address).await.map_err(refused)?;
            let bound = listener.local_addr().map_err(refused)?;
            logger.write(
                Record::new(Level::Info, "health_listening", "answers probes of its health")
                    .with("address", bound.to_string()),
            );
            spawn_local(health::serve(listener, condition.clone()));
        }
        let manager = Rc::new(ServiceManager::from_environment(logger));
        spawn_local(look_after(condition.clone(), Rc::clone(&manager)));
        spawn_local(service_manager::keep_watchdog_quiet(Rc::clone(&manager)));
        Ok(Self { condition, manager })
    }

    /// The worker begins to poll, or stays paused from the start.
    pub fn begins(&self) {
        self.manager.ready(&self.condition.report().summary());
    }

    /// The worker takes no more work and ends.
    pub fn ends(&self) {
        self.condition.drain();
        self.manager.stopping(&self.condition.report().summary());
    }
}

async fn look_after(condition: Condition, manager: Rc<ServiceManager>) {
    let mut said = String::new();
    loop {
        condition.pause().look();
        let summary = condition.report().summary();
        if summary != said {
            manager.status(&summary);
            said = summary;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
