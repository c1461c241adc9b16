//! Embedded engine and OTLP receiver behind the perago dev command
