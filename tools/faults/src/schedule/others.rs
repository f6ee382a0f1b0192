//! A second instance of sale and of inventory.

use flashsale_testbed::platform::Service;

use super::shop::Shop;
use crate::platform::Platform;

/// Beside those of the platform.
#[derive(Debug)]
pub(super) struct Others {
    pub(super) sale: Service,
    pub(super) inventory: Service,
}

impl Others {
    /// Starts them. The second instance of sale asks the second one of inventory.
    pub(super) async fn start(platform: &Platform) -> anyhow::Result<Self> {
        let (mut sale, mut inventory) = (platform.second("sale")?, platform.second("inventory")?);
        let settings = platform.settings_over(&platform.to_redis, &inventory);
        tokio::try_join!(sale.start(settings.clone()), inventory.start(settings))?;
        Ok(Self { sale, inventory })
    }

    /// Both instances of sale.
    pub(super) fn sales<'a>(&'a self, platform: &'a Platform) -> [&'a Service; 2] {
        [&platform.services.sale, &self.sale]
    }

    /// Both instances of inventory.
    pub(super) fn inventories<'a>(&'a self, platform: &'a Platform) -> [&'a Service; 2] {
        [&platform.services.inventory, &self.inventory]
    }

    /// A shop that asks either of them first, in turn.
    pub(super) fn shop(&self, platform: &Platform, run: u64) -> anyhow::Result<Shop> {
        let [one, other] = self.sales(platform);
        Shop::of(platform, if run.is_multiple_of(2) { [one, other] } else { [other, one] })
    }

    /// Stops them in order.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.sale.stop().await?;
        self.inventory.stop().await
    }
}
