//! Which processes serve: one for all services, or one for each.

use std::{path::PathBuf, time::Duration};

use super::{Peer, Peers, Service, ServiceOptions};
use crate::keys::KeyFolder;

/// What makes a service of a platform.
#[derive(Debug, Clone)]
pub struct Maker {
    /// `flashsale-serve`.
    pub program: PathBuf,
    /// Where services have their files.
    pub dir: PathBuf,
    /// How long each may take to drain.
    pub stop_within: Duration,
}

impl Maker {
    /// A service that is not started: `service` as `flashsale-serve` names it, `name` as its files
    /// are named.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn service(&self, service: &str, name: &str, keys: &KeyFolder) -> anyhow::Result<Service> {
        Ok(Service::new(ServiceOptions {
            name: name.to_owned(),
            program: self.program.clone(),
            args: vec![service.into()],
            dir: self.dir.clone(),
            stop_within: self.stop_within,
            keys: keys.clone(),
        })?)
    }
}

/// The services of a platform.
pub trait Services: Sized {
    /// Makes them, started none.
    ///
    /// # Errors
    /// If there are no free ports.
    fn make(maker: &Maker, keys: &KeyFolder) -> anyhow::Result<Self>;

    /// Where each finds those it calls; none calls the sale service.
    fn peers(&self) -> Peers;

    /// The service that the payment provider sends its events to.
    fn payment(&self) -> &Service;

    /// All of them, in the order in which they are to end.
    fn all(&self) -> Vec<&Service>;
}

/// All services in one process.
#[derive(Debug)]
pub struct Together {
    pub all: Service,
}

impl Services for Together {
    fn make(maker: &Maker, keys: &KeyFolder) -> anyhow::Result<Self> {
        Ok(Self { all: maker.service("all", "services", keys)? })
    }

    fn peers(&self) -> Peers {
        let here = || Peer::at(self.all.url());
        Peers { waiting_room: here(), inventory: here(), checkout: here(), payment: here() }
    }

    fn payment(&self) -> &Service {
        &self.all
    }

    fn all(&self) -> Vec<&Service> {
        vec![&self.all]
    }
}

/// Each service in a process of its own.
#[derive(Debug)]
pub struct Apart {
    pub sale: Service,
    pub waiting_room: Service,
    pub checkout: Service,
    pub inventory: Service,
    pub worker: Service,
    pub payment: Service,
}

impl Services for Apart {
    fn make(maker: &Maker, keys: &KeyFolder) -> anyhow::Result<Self> {
        let service = |name: &str| maker.service(name, name, keys);
        Ok(Self {
            sale: service("sale")?,
            waiting_room: service("waiting-room")?,
            checkout: service("checkout")?,
            inventory: service("inventory")?,
            worker: service("order-worker")?,
            payment: service("payment")?,
        })
    }

    fn peers(&self) -> Peers {
        Peers {
            waiting_room: Peer::at(self.waiting_room.url()),
            inventory: Peer::at(self.inventory.url()),
            checkout: Peer::at(self.checkout.url()),
            payment: Peer::at(self.payment.url()),
        }
    }

    fn payment(&self) -> &Service {
        &self.payment
    }

    fn all(&self) -> Vec<&Service> {
        vec![
            &self.sale,
            &self.checkout,
            &self.worker,
            &self.payment,
            &self.waiting_room,
            &self.inventory,
        ]
    }
}
