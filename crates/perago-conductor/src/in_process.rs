//! A server in the same process, reached without a network: what simulations put in the place of one.

use std::fmt::Debug;
use std::pin::Pin;

use perago_http::ExchangeFailure;

/// An answer on its way: status and body, or why there is none.
pub type Answer = Pin<Box<dyn Future<Output = Result<(u16, Vec<u8>), ExchangeFailure>> + Send>>;

/// Answers requests in the place of a server. The client's time limits hold for it as for any other.
pub trait InProcessServer: Debug + Send + Sync {
    /// Answers `method` on a path with its query, which begins with the API base; `body` is empty where there is none.
    fn answer(&self, method: &str, path_and_query: String, body: Vec<u8>) -> Answer;
}
