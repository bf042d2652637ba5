//! Evidence in depth: the boot log, IMA, reference values and what an update does.

mod allow_list;
mod firmware_update;
mod golden_log;
mod ima;
