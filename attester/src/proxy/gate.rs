//! Handshakes under way with strangers: few at a time, and where there is no
//! place the oldest gives way. An honest handshake is done in milliseconds, so
//! the oldest of many is one that somebody holds open on purpose.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;

/// Half-open connections of everybody together: some 40 KiB each.
const HALF_OPEN: usize = 128;
/// Of one address: a NAT has several gateways behind it, a flood hundreds.
const HALF_OPEN_PER_ADDRESS: usize = 32;

#[derive(Clone, Default)]
pub(super) struct Gate {
    places: Arc<Mutex<Places>>,
}

#[derive(Default)]
struct Places {
    next: u64,
    taken: BTreeMap<u64, Place>,
}

struct Place {
    address: IpAddr,
    /// Dropped to tell the handshake that it gave way.
    _hold: oneshot::Sender<()>,
}

/// A place at the gate. It is free again when this is dropped.
pub(super) struct Pass {
    number: u64,
    places: Arc<Mutex<Places>>,
    evicted: oneshot::Receiver<()>,
}

impl Gate {
    /// A place, at the cost of the oldest handshake of `address`, or of
    /// everybody, where there are too many.
    pub(super) fn enter(&self, address: IpAddr) -> Pass {
        let (hold, evicted) = oneshot::channel();
        let mut number = 0;
        if let Ok(mut places) = self.places.lock() {
            let of_address = || places.taken.iter().filter(|(_, p)| p.address == address);
            let oldest = if of_address().count() >= HALF_OPEN_PER_ADDRESS {
                of_address().map(|(number, _)| *number).next()
            } else if places.taken.len() >= HALF_OPEN {
                places.taken.keys().next().copied()
            } else {
                None
            };
            if let Some(oldest) = oldest {
                places.taken.remove(&oldest);
            }
            places.next += 1;
            number = places.next;
            let place = Place {
                address,
                _hold: hold,
            };
            places.taken.insert(number, place);
        }
        Pass {
            number,
            places: Arc::clone(&self.places),
            evicted,
        }
    }
}

impl Pass {
    /// Resolves when this handshake had to give way.
    pub(super) async fn evicted(&mut self) {
        let _ = (&mut self.evicted).await;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Ok(mut places) = self.places.lock() {
            places.taken.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn address(n: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    fn gave_way(pass: &mut Pass) -> bool {
        pass.evicted.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }

    #[test]
    fn adv_a21_a_flood_from_one_address_takes_places_from_itself_alone() {
        let gate = Gate::default();
        let mut honest = gate.enter(address(1));
        let mut flood: Vec<_> = (0..1000).map(|_| gate.enter(address(2))).collect();
        assert!(!gave_way(&mut honest));
        let open = flood
            .iter_mut()
            .filter_map(|p| (!gave_way(p)).then_some(()));
        assert_eq!(open.count(), HALF_OPEN_PER_ADDRESS);
        assert!(
            !gave_way(flood.last_mut().unwrap()),
            "the newest has its place"
        );
    }

    #[test]
    fn adv_a21_many_addresses_make_the_oldest_give_way() {
        let gate = Gate::default();
        let mut flood: Vec<_> = (0..HALF_OPEN)
            .map(|n| gate.enter(address(u8::try_from(n).unwrap())))
            .collect();
        assert!(!gave_way(flood.first_mut().unwrap()));
        let mut honest = gate.enter(address(200));
        assert!(gave_way(flood.first_mut().unwrap()));
        assert!(!gave_way(&mut honest));
        drop(flood);
        drop(honest);
        assert!(gate.places.lock().unwrap().taken.is_empty());
    }
}
