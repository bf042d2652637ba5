//! `input.boot_log.images`, `.boot_options`, `.partition_tables`: what was
//! started, and from where (PCR 1, 2, 4, 5).

use holdfast_proto::boot_log::{
    EventType, Fact,
    decode::{Gpt, Value, Variable},
};
use serde::Serialize;

use super::{Digest, Knowing};
use crate::digest::sha256;

#[derive(Default, Serialize)]
pub(super) struct Chain {
    images: Vec<Image>,
    boot_options: Vec<BootOption>,
    partition_tables: Vec<PartitionTable>,
}

/// An image that firmware loaded. Its digest is Authenticode's; where it came
/// from, the log says.
#[derive(Serialize)]
struct Image {
    event: usize,
    pcr: u32,
    /// `application`, `driver` or `runtime-driver`.
    kind: &'static str,
    device_path: String,
    file: Option<String>,
    known_by: &'static str,
    #[serde(flatten)]
    measured: Option<Digest>,
}

/// A UEFI variable outside of PCR 7: BootOrder, Boot####.
#[derive(Serialize)]
struct BootOption {
    event: usize,
    pcr: u32,
    vendor: String,
    name: String,
    sha256: String,
    /// Of a load option.
    description: Option<String>,
    device_path: Option<String>,
    known_by: &'static str,
}

#[derive(Serialize)]
struct PartitionTable {
    event: usize,
    disk: String,
    partitions: Vec<Partition>,
    known_by: &'static str,
}

#[derive(Serialize)]
struct Partition {
    name: String,
    kind: String,
    id: String,
    first_block: u64,
    last_block: u64,
}

impl Chain {
    pub(super) fn add(&mut self, fact: &Fact<'_>, knowing: &Knowing<'_>) {
        let (event, known_by) = (&fact.event, knowing.of(fact));
        match &fact.value {
            Value::Image(image) => self.images.push(Image {
                event: event.index(),
                pcr: event.pcr(),
                kind: match event.claimed_type() {
                    EventType::EV_EFI_BOOT_SERVICES_APPLICATION => "application",
                    EventType::EV_EFI_RUNTIME_SERVICES_DRIVER => "runtime-driver",
                    _ => "driver",
                },
                device_path: image.device_path.to_string(),
                file: image.device_path.file().map(|file| file.to_string()),
                known_by,
                measured: knowing.digest(event),
            }),
            Value::Variable(variable) => self.boot_options.push(BootOption::of(
                event.index(),
                event.pcr(),
                variable,
                known_by,
            )),
            Value::PartitionTable(table) => {
                self.partition_tables
                    .push(PartitionTable::of(event.index(), table, known_by))
            }
            _ => {}
        }
    }
}

impl BootOption {
    fn of(event: usize, pcr: u32, variable: &Variable<'_>, known_by: &'static str) -> Self {
        let option = variable.load_option().and_then(Result::ok);
        Self {
            event,
            pcr,
            vendor: variable.vendor.to_string(),
            name: variable.name.to_string(),
            sha256: hex::encode(sha256(&[variable.data])),
            description: option.map(|option| option.description.to_string()),
            device_path: option.map(|option| option.device_path.to_string()),
            known_by,
        }
    }
}

impl PartitionTable {
    fn of(event: usize, table: &Gpt<'_>, known_by: &'static str) -> Self {
        let partitions = table.partitions().map(|partition| Partition {
            name: partition.name.to_string(),
            kind: partition.kind.to_string(),
            id: partition.id.to_string(),
            first_block: partition.first_block,
            last_block: partition.last_block,
        });
        Self {
            event,
            disk: table.disk.to_string(),
            partitions: partitions.collect(),
            known_by,
        }
    }
}
