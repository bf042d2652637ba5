//! Telling systemd how a service fares (`sd_notify(3)`): one datagram to the
//! socket that `$NOTIFY_SOCKET` names. Both daemons have it from here; nothing
//! of it goes to a peer.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Longest `STATUS=` that is sent, in bytes: systemd reads datagrams of up to
/// 4 KiB, and a line that people read is shorter.
pub const MAX_STATUS: usize = 512;

/// The service manager, or nobody where there is none: then every method does
/// nothing, so that a daemon runs the same from a shell.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Nobody.
    #[must_use]
    pub fn absent() -> Self {
        Self::default()
    }

    /// The one that started this process, by `$NOTIFY_SOCKET`, `$WATCHDOG_USEC`
    /// and `$WATCHDOG_PID`. The variables stay in the environment: a daemon
    /// that starts other programs should not hand them on.
    ///
    /// # Errors
    /// Where `$NOTIFY_SOCKET` is set and is no address that a datagram can go
    /// to: then systemd would wait for `READY=1` in vain.
    pub fn from_env() -> io::Result<Self> {
        let variable = |name| std::env::var_os(name);
        let Some(address) = variable("NOTIFY_SOCKET").filter(|value| !value.is_empty()) else {
            return Ok(Self::absent());
        };
        let watchdog = watchdog(
            variable("WATCHDOG_USEC").as_deref(),
            variable("WATCHDOG_PID").as_deref(),
            std::process::id(),
        );
        Self::at(&address, watchdog)
    }

    /// The one that listens at `address`: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// Where `address` is neither, or no socket can be made.
    pub fn at(address: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let bytes = address.as_bytes();
        let address = match bytes.split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            Some((b'/', _)) => SocketAddr::from_pathname(address)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("NOTIFY_SOCKET {address:?} is neither an absolute path nor @NAME"),
                ));
            }
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold a daemon up.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Some((socket, address)),
            watchdog,
        })
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.socket.is_some()
    }

    /// How often to call [`Self::alive`]: half of what the unit's
    /// `WatchdogSec=` allows; `None` where no watchdog is set.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|allowed| allowed / 2)
    }

    /// `READY=1` with a line on what the service does.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// A line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// `WATCHDOG=1`. Call it from the loop that does the work, never from a
    /// task that turns when the work has stopped.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// `STOPPING=1`.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The settings are read again; [`Self::ready`] says that it is done.
    /// `monotonic_usec` is `CLOCK_MONOTONIC` at the signal, in microseconds,
    /// which `Type=notify-reload` insists on.
    pub fn reloading(&self, monotonic_usec: u64) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={monotonic_usec}"));
    }

    /// Not answered and not repeated: a manager that is gone is no reason to
    /// stop.
    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.socket {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

/// `$WATCHDOG_USEC`, where it is meant for this process.
fn watchdog(usec: Option<&OsStr>, pid: Option<&OsStr>, own: u32) -> Option<Duration> {
    let number = |value: &OsStr| value.to_str()?.parse::<u64>().ok();
    if pid.is_some_and(|pid| number(pid) != Some(u64::from(own))) {
        return None;
    }
    number(usec?)
        .filter(|usec| *usec > 0)
        .map(Duration::from_micros)
}

/// A value of `STATUS=` ends with its line: a line break in it would let what
/// follows pass for another assignment.
fn one_line(status: &str) -> String {
    let mut line = String::with_capacity(status.len().min(MAX_STATUS));
    for c in status.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if line.len() + c.len_utf8() > MAX_STATUS {
            break;
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn speaks(manager: &ServiceManager, socket: &UnixDatagram) {
        manager.ready("enrolled");
        assert_eq!(received(socket), "READY=1\nSTATUS=enrolled");
        manager.status("waits");
        assert_eq!(received(socket), "STATUS=waits");
        manager.alive();
        assert_eq!(received(socket), "WATCHDOG=1");
        manager.reloading(7);
        assert_eq!(received(socket), "RELOADING=1\nMONOTONIC_USEC=7");
        manager.stopping();
        assert_eq!(received(socket), "STOPPING=1");
    }

    #[test]
    fn a_path_is_spoken_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        speaks(
            &ServiceManager::at(path.as_os_str(), None).unwrap(),
            &socket,
        );
    }

    #[test]
    fn an_abstract_name_is_spoken_to() {
        let name = format!("holdfast-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let manager = ServiceManager::at(OsStr::new(&format!("@{name}")), None).unwrap();
        speaks(&manager, &socket);
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(one_line("a\nREADY=1\r\0b"), "a READY=1  b");
        let long = one_line(&"ü".repeat(MAX_STATUS));
        assert_eq!(long.len(), MAX_STATUS);
        assert_eq!(one_line(&format!("a{}", "ü".repeat(400))).len(), 511);
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let usec = Some(OsStr::new("10000000"));
        let ten = Some(Duration::from_secs(10));
        assert_eq!(watchdog(usec, None, 5), ten);
        assert_eq!(watchdog(usec, Some(OsStr::new("5")), 5), ten);
        assert_eq!(watchdog(usec, Some(OsStr::new("6")), 5), None);
        assert_eq!(watchdog(usec, Some(OsStr::new("x")), 5), None);
        assert_eq!(watchdog(None, None, 5), None);
        assert_eq!(watchdog(Some(OsStr::new("0")), None, 5), None);
        let manager = ServiceManager::at(OsStr::new("@x"), ten).unwrap();
        assert_eq!(manager.watchdog_interval(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn an_address_of_another_kind_is_refused() {
        for bad in ["relative/path", "vsock:2:1", "\u{1}"] {
            let error = ServiceManager::at(OsStr::new(bad), None).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad}");
        }
    }

    #[test]
    fn nobody_and_a_manager_that_is_gone_stop_nothing() {
        ServiceManager::absent().ready("x");
        let gone = ServiceManager::at(OsStr::new("/nonexistent/notify"), None).unwrap();
        assert!(gone.is_present() && !ServiceManager::absent().is_present());
        gone.alive();
    }
}
