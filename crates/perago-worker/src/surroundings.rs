//! What lies around a worker: its orders, its executors, its server. A simulation puts others in their places.

use std::fmt;
use std::io;
use std::rc::Rc;

use perago_conductor::{Client, ClientOptions, Error};

use crate::executor::host::ExecutorHost;
use crate::guardian::{Forked, Guardian};
use crate::orphans;
use crate::signals::Signals;

/// How a worker reaches the world.
pub(crate) struct Surroundings {
    /// Where orders to stop come from.
    pub signals: Signals,
    /// Where executors live.
    pub host: Rc<dyn ExecutorHost>,
    /// Makes the client of the server.
    pub connect: Connect,
}

/// Makes the client of a server.
pub(crate) type Connect = Box<dyn Fn(&ClientOptions) -> Result<Client, Error>>;

impl Surroundings {
    /// Signals of the system, processes below a forked guardian, the network. Needs a runtime and a `LocalSet`.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn real(forked: Forked) -> io::Result<Self> {
        let signals = Signals::listen()?;
        orphans::collect_as_first_process()?;
        Ok(Self { signals, host: Rc::new(Guardian::new(forked)?), connect: Box::new(Client::new) })
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Surroundings").field("host", &self.host).finish_non_exhaustive()
    }
}
