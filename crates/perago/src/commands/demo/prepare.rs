//! What must be known before the first worker starts: the tasks' definitions and the songs.

use std::process::Stdio;

use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;
use tokio::task::spawn_blocking;

use super::folder::Folder;
use super::internal;
use super::pipeline::STEPS;
use crate::commands::check::task_def_of;
use crate::failure::Failure;
use crate::{DemoMaterial, Host};

/// A WAV file to run a workflow for.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SongFile {
    /// Id, unique in this run; also the name of its branch.
    pub song_id: String,
    /// Title for people.
    pub title: String,
    /// The WAV file.
    pub path: String,
}

/// A task and the module that declares it.
#[derive(Debug, Clone)]
pub(super) struct TaskModule {
    /// The task's name.
    pub task_name: &'static str,
    /// The import path.
    pub module_target: String,
}

/// Everything that was prepared.
#[derive(Debug)]
pub(super) struct Prepared {
    /// In the order of the steps.
    pub modules: Vec<TaskModule>,
    /// What `perago extract` would write for them.
    pub task_defs: Vec<Value>,
    /// The songs.
    pub songs: Vec<SongFile>,
}

/// Describes the three tasks and has the songs played, all at once.
pub(super) async fn prepare(
    host: &Host,
    material: &DemoMaterial,
    folder: &Folder,
    song_count: u32,
) -> Result<Prepared, Failure> {
    let descriptions = STEPS.map(|step| {
        let (host, module_target) = (host.clone(), material.module_of(step.task_name));
        spawn_blocking(move || task_def_of(&module_target, &host))
    });
    let songs = play(material, folder, song_count).await?;
    let mut task_defs = Vec::new();
    for described in descriptions {
        task_defs.push(described.await.map_err(internal)??);
    }
    let modules = STEPS
        .map(|step| TaskModule {
            task_name: step.task_name,
            module_target: material.module_of(step.task_name),
        })
        .into();
    Ok(Prepared { modules, task_defs, songs })
}

async fn play(material: &DemoMaterial, folder: &Folder, song_count: u32) -> Result<Vec<SongFile>, Failure> {
    let program = &material.songs;
    let output = Command::new(&program.program)
        .args(&program.arguments)
        .arg(folder.songs())
        .arg(song_count.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(internal)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim_end().lines().next_back().unwrap_or_default();
        return Err(Failure::new(format!("the songs cannot be played ({}): {last}", output.status)));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| internal(format!("the list of songs is not understood: {error}")))
}
