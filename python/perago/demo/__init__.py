"""The audio pipeline that `perago demo` runs: three typed tasks on WAV files, by the standard library alone.

Each task is a module, as in a project of your own: `metadata_validate`, `features_build`, `audio_transcribe`.
"""
