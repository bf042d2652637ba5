//! What one network address has open: connections, handshakes and requests
//! under way.
//!
//! Entries exist while a connection does, so the table is no larger than the
//! number of connections.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Who is counted as one: an IPv4 address, or an IPv6 /64 (one subscriber has
/// at least that much, RFC 6177 §2, so that counting addresses is no bound).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct AddressKey([u8; 8], bool);

impl From<IpAddr> for AddressKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                Self([a, b, c, d, 0, 0, 0, 0], false)
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self([a, b, c, d, e, f, g, h], true)
            }
        }
    }
}

/// The address, or the /64.
impl fmt::Display for AddressKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i] = self.0;
        if self.1 {
            let prefix = [a, b, c, d, e, g, h, i, 0, 0, 0, 0, 0, 0, 0, 0];
            write!(f, "{}/64", std::net::Ipv6Addr::from(prefix))
        } else {
            std::net::Ipv4Addr::from([a, b, c, d]).fmt(f)
        }
    }
}

#[derive(Debug)]
struct Entry {
    connections: u32,
    handshakes: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

/// What one address may have at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) connections: u32,
    pub(super) handshakes: usize,
    pub(super) requests: usize,
}

/// The table.
#[derive(Debug)]
pub(super) struct Addresses {
    open: Mutex<HashMap<AddressKey, Entry>>,
    each: Share,
}

/// One connection of an address; gives its place back when dropped.
#[derive(Debug)]
pub(super) struct AddressPermit {
    addresses: Arc<Addresses>,
    key: AddressKey,
    handshakes: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

impl Addresses {
    pub(super) fn new(each: Share) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            each,
        })
    }

    /// Counts one connection more, unless the address has its fill.
    pub(super) fn enter(self: &Arc<Self>, key: AddressKey) -> Option<AddressPermit> {
        let mut open = self.open();
        let entry = open.entry(key).or_insert_with(|| Entry {
            connections: 0,
            handshakes: Arc::new(Semaphore::new(self.each.handshakes)),
            requests: Arc::new(Semaphore::new(self.each.requests)),
        });
        if entry.connections >= self.each.connections {
            return None;
        }
        entry.connections += 1;
        Some(AddressPermit {
            addresses: Arc::clone(self),
            key,
            handshakes: Arc::clone(&entry.handshakes),
            requests: Arc::clone(&entry.requests),
        })
    }

    // The map is whole even where a holder of the lock panicked: each change
    // is one insertion, removal or count.
    fn open(&self) -> MutexGuard<'_, HashMap<AddressKey, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AddressPermit {
    pub(super) fn key(&self) -> AddressKey {
        self.key
    }

    /// A place for one handshake, unless the address has its fill under way.
    pub(super) fn handshake(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.handshakes).try_acquire_owned().ok()
    }

    /// A place for one request, unless the address has its fill under way.
    pub(super) fn request(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut open = self.addresses.open();
        if let Some(entry) = open.get_mut(&self.key) {
            entry.connections -= 1;
            if entry.connections == 0 {
                open.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_fill_and_no_more() {
        let addresses = Addresses::new(Share {
            connections: 2,
            handshakes: 1,
            requests: 1,
        });
        let key = AddressKey::from(IpAddr::from([192, 0, 2, 1]));
        let first = addresses.enter(key).unwrap();
        let second = addresses.enter(key).unwrap();
        assert!(addresses.enter(key).is_none());
        assert!(
            addresses
                .enter(AddressKey::from(IpAddr::from([192, 0, 2, 2])))
                .is_some()
        );

        let request = first.request().unwrap();
        assert!(
            second.request().is_none(),
            "requests are counted by address, not connection"
        );
        drop(request);
        assert!(second.request().is_some());

        let handshake = first.handshake().unwrap();
        assert!(second.handshake().is_none());
        drop(handshake);

        drop((first, second));
        assert!(addresses.open().is_empty());
    }

    #[test]
    fn ipv6_is_counted_by_64_and_mapped_ipv4_as_ipv4() {
        let key = |text: &str| AddressKey::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:0:0:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
