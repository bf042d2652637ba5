//! What boots on a simulated gateway: firmware, shim, GRUB and a kernel of a
//! Debian-like system with Secure Boot, and the events that they measure.
//!
//! The files do not exist; each stands for the fixed bytes of [`content`]. The
//! sequence follows a log of a real virtual machine (Ubuntu 24.04), event types
//! and PCRs included.

use super::event::event_type::*;
use super::event::{Event, len32};
use super::{BootLog, uefi};

const PK: &[u8] = include_bytes!("certs/pk.der");
const KEK: &[u8] = include_bytes!("certs/kek.der");
const DB: &[u8] = include_bytes!("certs/db.der");
const SHIM_VENDOR: &[u8] = include_bytes!("certs/shim.der");
const MOK: &[u8] = include_bytes!("certs/mok.der");

/// A golden image, or a variant of it. Two gateways with equal images have
/// equal PCRs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootImage {
    /// Firmware version; measured into PCR 0.
    pub firmware: String,
    /// Whether Secure Boot is on; measured into PCR 7.
    pub secure_boot: bool,
    /// Hashes of forbidden images (dbx); measured into PCR 7.
    pub forbidden: Vec<[u8; 32]>,
    /// Kernel release, e.g. `6.1.0-31-amd64`; measured into PCR 4, 8 and 9.
    pub kernel: String,
    /// Kernel command line without the image's name; measured into PCR 8 and 9.
    pub command_line: String,
}

impl BootImage {
    /// What the owner released.
    #[must_use]
    pub fn golden() -> Self {
        let forbidden = [
            "revoked boot loader 1",
            "revoked boot loader 2",
            "revoked boot loader 3",
        ];
        Self {
            firmware: "Holdfast Simulated UEFI 2.7".to_owned(),
            secure_boot: true,
            forbidden: forbidden.map(image_hash).to_vec(),
            kernel: "6.1.0-31-amd64".to_owned(),
            command_line: "root=/dev/mapper/gateway-root ro quiet lockdown=integrity".to_owned(),
        }
    }

    /// The same system with another kernel.
    #[must_use]
    pub fn with_kernel(mut self, release: &str) -> Self {
        release.clone_into(&mut self.kernel);
        self
    }

    /// The same system started with another command line.
    #[must_use]
    pub fn with_command_line(mut self, command_line: &str) -> Self {
        command_line.clone_into(&mut self.command_line);
        self
    }

    /// The same system after an update of dbx that forbids one more image.
    #[must_use]
    pub fn with_grown_dbx(mut self) -> Self {
        self.forbidden.push(image_hash("revoked boot loader 4"));
        self
    }

    /// The same system with Secure Boot switched off.
    #[must_use]
    pub fn without_secure_boot(mut self) -> Self {
        self.secure_boot = false;
        self
    }

    /// Everything that is measured on the way from power-on to the kernel.
    #[must_use]
    pub fn boot(&self) -> BootLog {
        let mut events = Vec::new();
        self.firmware_starts(&mut events);
        self.secure_boot_policy(&mut events);
        boot_options(&mut events);
        events.extend((0..=6).map(separator));
        self.shim_and_grub_start(&mut events);
        self.grub_reads(&mut events);
        self.kernel_starts(&mut events);
        BootLog { events }
    }

    fn firmware_starts(&self, events: &mut Vec<Event>) {
        // No StartupLocality event: the startup is from locality 0, and
        // tpm2_eventlog 5.4 extends that event, which is never extended.
        events.push(Event::of_data(
            0,
            EV_S_CRTM_VERSION,
            uefi::utf16_z(&self.firmware),
        ));
        for (volume, base, length) in [
            ("PEI", 0x82_0000, 0x0e_0000),
            ("DXE", 0x90_0000, 0x00a0_0000),
        ] {
            let measured = content(&format!("{} {volume} volume", self.firmware));
            let blob = uefi::firmware_blob(base, length);
            events.push(Event::of(0, EV_EFI_PLATFORM_FIRMWARE_BLOB, &measured, blob));
        }
        let smbios = uefi::smbios_pointer(0xbf7d_0000);
        events.push(Event::of(
            1,
            EV_EFI_HANDOFF_TABLES,
            &content("SMBIOS table"),
            smbios,
        ));
    }

    /// PCR 7: the keys that decide what may boot.
    fn secure_boot_policy(&self, events: &mut Vec<Event>) {
        let variables = [
            (
                uefi::GLOBAL_VARIABLE,
                "SecureBoot",
                vec![u8::from(self.secure_boot)],
            ),
            (uefi::GLOBAL_VARIABLE, "PK", uefi::certificate_list(PK)),
            (uefi::GLOBAL_VARIABLE, "KEK", uefi::certificate_list(KEK)),
            (uefi::SECURITY_DATABASE, "db", uefi::certificate_list(DB)),
            (
                uefi::SECURITY_DATABASE,
                "dbx",
                uefi::hash_list(&self.forbidden),
            ),
        ];
        for (vendor, name, value) in variables {
            let data = uefi::variable(vendor, name, &value);
            events.push(Event::of_data(7, EV_EFI_VARIABLE_DRIVER_CONFIG, data));
        }
        events.push(separator(7));
    }

    fn shim_and_grub_start(&self, events: &mut Vec<Event>) {
        events.push(Event::of_data(5, EV_EFI_GPT_EVENT, uefi::gpt()));
        if self.secure_boot {
            let db_entry = uefi::signature_data(DB);
            events.push(authority(uefi::SECURITY_DATABASE, "db", &db_entry));
        }
        events.push(application(0xbcb7_8018, r"\EFI\debian\shimx64.efi"));
        events.push(shim_variable("MokList", &uefi::certificate_list(MOK)));
        events.push(shim_variable(
            "MokListX",
            &uefi::hash_list(&[image_hash("old GRUB")]),
        ));
        events.push(authority(
            uefi::SHIM_LOCK,
            "SbatLevel",
            b"sbat,1,2024010900\nshim,4\ngrub,3\n",
        ));
        events.push(shim_variable("MokListTrusted", &[1]));
        if self.secure_boot {
            events.push(authority(uefi::SHIM_LOCK, "Shim", SHIM_VENDOR));
        }
        events.push(application(0xbc81_8018, r"\EFI\debian\grubx64.efi"));
    }

    /// PCR 9 holds what GRUB read, PCR 8 what it was told to do.
    fn grub_reads(&self, events: &mut Vec<Event>) {
        let Self {
            kernel,
            command_line,
            ..
        } = self;
        events.push(grub_file("(hd0,gpt1)/EFI/debian/grub.cfg"));
        events.push(grub_line(
            "grub_cmd",
            "search.fs_uuid 2f1c6c1e-5f1b-4a4c-9a4e-0f6c3a52d7aa root",
        ));
        events.push(grub_line(
            "grub_cmd",
            "configfile (hd0,gpt2)/boot/grub/grub.cfg",
        ));
        events.push(grub_file("(hd0,gpt2)/boot/grub/x86_64-efi/command.lst"));
        events.push(grub_file("(hd0,gpt2)/boot/grub/grub.cfg"));
        events.push(grub_line("grub_cmd", "set default=0"));
        events.push(grub_line("grub_cmd", "insmod gzio"));
        events.push(grub_line("grub_cmd", "insmod ext2"));
        let linux = format!("/boot/vmlinuz-{kernel} {command_line}");
        events.push(grub_line("grub_cmd", &format!("linux {linux}")));
        events.push(grub_file(&format!("(hd0,gpt2)/boot/vmlinuz-{kernel}")));
        events.push(grub_line("kernel_cmdline", &linux));
        events.push(grub_line(
            "grub_cmd",
            &format!("initrd /boot/initrd.img-{kernel}"),
        ));
        events.push(grub_file(&format!("(hd0,gpt2)/boot/initrd.img-{kernel}")));
    }

    fn kernel_starts(&self, events: &mut Vec<Event>) {
        const LOAD_OPTIONS: u32 = 0x8f3b_22ed;
        let Self {
            kernel,
            command_line,
            ..
        } = self;
        events.push(application(
            0xb640_0000,
            &format!(r"\boot\vmlinuz-{kernel}"),
        ));
        let options = uefi::utf16_z(&format!("/boot/vmlinuz-{kernel} {command_line}"));
        let tag = uefi::tagged(LOAD_OPTIONS, b"LOADED_IMAGE::LoadOptions\0");
        events.push(Event::of(9, EV_EVENT_TAG, &options, tag));
        for action in [
            "Exit Boot Services Invocation",
            "Exit Boot Services Returned with Success",
        ] {
            events.push(Event::of_data(5, EV_EFI_ACTION, action.into()));
        }
    }
}

/// PCR 1 and 4: which boot options there are, and that one is tried.
fn boot_options(events: &mut Vec<Event>) {
    let rom = content("network card option ROM");
    let load = uefi::image_load(0xbe2f_3018, rom.len(), &uefi::option_rom());
    events.push(Event::of(2, EV_EFI_BOOT_SERVICES_DRIVER, &rom, load));
    let variables = [
        ("BootOrder", vec![0, 0, 1, 0]),
        (
            "Boot0000",
            uefi::load_option("debian", &uefi::esp_file(r"\EFI\debian\shimx64.efi")),
        ),
        (
            "Boot0001",
            uefi::load_option("UEFI fallback", &uefi::esp_file(r"\EFI\BOOT\BOOTX64.EFI")),
        ),
    ];
    for (name, value) in variables {
        // Of boot variables only the value is measured, not the name.
        let data = uefi::variable(uefi::GLOBAL_VARIABLE, name, &value);
        events.push(Event::of(1, EV_EFI_VARIABLE_BOOT, &value, data));
    }
    let action = "Calling EFI Application from Boot Option";
    events.push(Event::of_data(4, EV_EFI_ACTION, action.into()));
}

fn separator(pcr: u32) -> Event {
    Event::of_data(pcr, EV_SEPARATOR, len32(0).to_vec())
}

fn authority(vendor: uefi::Guid, name: &str, value: &[u8]) -> Event {
    Event::of_data(
        7,
        EV_EFI_VARIABLE_AUTHORITY,
        uefi::variable(vendor, name, value),
    )
}

/// A PE image: what is measured is its Authenticode hash, which stands in for
/// itself here as the hash of its content.
fn application(address: u64, path: &str) -> Event {
    let image = content(path);
    let load = uefi::image_load(address, image.len(), &uefi::esp_file(path));
    Event::of(4, EV_EFI_BOOT_SERVICES_APPLICATION, &image, load)
}

fn shim_variable(name: &str, value: &[u8]) -> Event {
    Event::of(14, EV_IPL, value, format!("{name}\0").into_bytes())
}

/// GRUB logs `kind: line`, and measures the line alone.
fn grub_line(kind: &str, line: &str) -> Event {
    Event::of(
        8,
        EV_IPL,
        line.as_bytes(),
        format!("{kind}: {line}\0").into_bytes(),
    )
}

fn grub_file(path: &str) -> Event {
    Event::of(9, EV_IPL, &content(path), format!("{path}\0").into_bytes())
}

/// The bytes that a file or image of this name has in the simulation.
fn content(name: &str) -> Vec<u8> {
    format!("holdfast-sim content of {name}").into_bytes()
}

fn image_hash(name: &str) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(content(name)).into()
}
