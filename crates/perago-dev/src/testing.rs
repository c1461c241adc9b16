//! For the tests of whoever speaks to a Conductor, a lakeFS or an OTLP receiver from Rust: services of the test's own
//! whose faults and whose time are scripted.
//!
//! ```
//! use std::time::Duration;
//!
//! use perago_conductor::{Address, Client, ClientOptions};
//! use perago_dev::faults::{Fault, Rule};
//! use perago_dev::testing::TestServices;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let services = TestServices::start().await?;
//! let lost = services.faults().script(Rule::new("start_workflow", Fault::DropReply).nth(1))?;
//!
//! // Your client, in place of this one:
//! let client = Client::new(&ClientOptions::new(Address::parse(&services.conductor_url())?))?;
//! let definition = serde_json::json!({
//!     "name": "mix", "version": 1, "schemaVersion": 2, "timeoutSeconds": 0, "ownerEmail": "a@example.com",
//!     "tasks": [{"name": "mix", "taskReferenceName": "mix", "type": "SIMPLE", "inputParameters": {}}],
//! });
//! client.put_workflows(&[definition]).await?;
//! let start = perago_conductor::StartWorkflow::default();
//! # let start = perago_conductor::StartWorkflow { name: "mix".to_owned(), ..start };
//! let answer = client.start_workflow(&start).await;
//!
//! assert!(answer.is_err(), "the server did it, and its reply was lost");
//! assert_eq!((lost.hits(), services.faults().calls("start_workflow")?), (1, 1));
//! services.advance(Duration::from_secs(3600))?; // An hour passes for the engine.
//! services.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::ops::Deref;

use crate::faults::Faults;
use crate::server::{DevError, DevHandle, DevOptions, DevServer};

/// The embedded services with faults enabled, on a free port of this machine; they run on the current tokio runtime.
///
/// Everything that [`DevHandle`] offers is there too: addresses, virtual time, the series that were pushed.
#[derive(Debug)]
pub struct TestServices {
    handle: DevHandle,
    faults: Faults,
}

impl TestServices {
    /// Starts them; returns once connections are accepted.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> Result<Self, DevError> {
        Self::with(DevOptions::default()).await
    }

    /// The same with other options, such as a folder that keeps the store; faults are enabled in any case.
    ///
    /// # Errors
    /// What [`DevServer::start`] says.
    pub async fn with(options: DevOptions) -> Result<Self, DevError> {
        let faults = Faults::default();
        let handle = DevServer::launch(options, Some(faults.clone())).await?;
        Ok(Self { handle, faults })
    }

    /// The script of faults.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Stops them; requests in flight have 5.5 s to end.
    pub async fn shutdown(self) {
        self.handle.shutdown().await;
    }
}

impl Deref for TestServices {
    type Target = DevHandle;

    fn deref(&self) -> &DevHandle {
        &self.handle
    }
}
