//! Workspaces of attempts: the engine of `perago-workspace` over the client of `perago-lakefs`.

mod repository;
mod service;

pub use repository::LakeFsRepository;
pub use service::{Operation, Published, Transfer, Workspace, WorkspaceService};
