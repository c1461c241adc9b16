//! Workspaces of attempts: the engine of `perago-workspace` over the client of `perago-lakefs`.

mod repository;
mod service;
mod verdict;

pub use repository::LakeFsRepository;
pub use service::{Operation, Published, Transfer, Workspace, WorkspaceService};
pub use verdict::judge;
