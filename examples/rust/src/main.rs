//! One binary of several tasks: the audio pipeline of `perago demo`, a task with a state, and one that awaits HTTP.
//!
//! `cargo run -p perago-examples -- check features.build`

mod audio_transcribe;
mod features_build;
mod melody_recognise;
mod metadata_validate;
mod page_fetch;
mod recording;

use audio_transcribe::transcribe;
use features_build::build_features;
use melody_recognise::Songbook;
use metadata_validate::validate_metadata;
use page_fetch::Fetcher;

perago::main!(validate_metadata, build_features, transcribe, Songbook, Fetcher);
