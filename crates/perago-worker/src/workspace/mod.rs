//! Workspaces of attempts: the engine of `perago-workspace` over the client of `perago-lakefs`.

mod keeper;
mod open;
mod repository;
mod service;
mod verdict;

pub use perago_workspace::GlobDialect;

pub use keeper::{Keeping, Kept, WorkspaceMail, Workspaces};
pub(crate) use open::open;
pub use repository::LakeFsRepository;
pub use service::{Operation, Published, Transfer, Workspace, WorkspaceService};
pub use verdict::judge;
