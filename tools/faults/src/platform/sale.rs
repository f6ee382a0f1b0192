//! A sale to be disturbed.

use std::time::Duration;

use anyhow::Context as _;
use flashsale_proto::{
    Money,
    sale::{
        CreateSaleRequest, EndSaleRequest, GetSaleRequest, Item, RoomSettings, SaleSettings,
        StartSaleRequest, sale_service_client::SaleServiceClient,
    },
};
use tonic::Status;
use uuid::Uuid;

use super::Platform;
use crate::patience::until_some;

/// The item that everybody wants and few get.
pub(crate) const SCARCE: &str = "SCARCE";
/// The item of which there is enough.
pub(crate) const PLENTY: &str = "PLENTY";
const PLENTY_UNITS: i64 = 100_000;
/// What a unit of either costs.
const EUROS: i64 = 10;
/// How long a sale may take to reach every service.
const OPEN_WITHIN: Duration = Duration::from_secs(30);

/// What kind of sale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SaleSpec {
    /// Units of the item that few get.
    pub(crate) scarce: i64,
    /// How long holds last.
    pub(crate) hold: Duration,
    /// Whether holds need admissions.
    pub(crate) room: bool,
}

impl Default for SaleSpec {
    fn default() -> Self {
        Self { scarce: 30, hold: Duration::from_secs(60), room: false }
    }
}

impl SaleSpec {
    /// What such a sale offers, each unit for so many euros.
    pub(crate) fn items(self, euros: i64) -> Vec<Item> {
        let item = |sku: &str, quantity| Item {
            sku: sku.to_owned(),
            title: sku.to_owned(),
            unit_price: Some(Money { currency_code: "EUR".to_owned(), units: euros, nanos: 0 }),
            quantity,
            per_buyer_limit: 0,
            regular_price: None,
        };
        vec![item(SCARCE, self.scarce), item(PLENTY, PLENTY_UNITS)]
    }

    /// Asks for such a sale, without a window.
    pub(crate) fn creation(self) -> anyhow::Result<CreateSaleRequest> {
        let seconds = i64::try_from(self.hold.as_secs())?;
        let room =
            RoomSettings { admissions_per_second: 1.0, admission_ttl: None, pre_queue: None };
        Ok(CreateSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            settings: Some(SaleSettings {
                name: "Faults".to_owned(),
                currency: "EUR".to_owned(),
                hold_ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
                room: self.room.then_some(room),
                ..SaleSettings::default()
            }),
            items: self.items(EUROS),
        })
    }
}

/// A sale.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sale {
    /// Its id.
    pub(crate) id: Uuid,
    /// Whether holds need admissions.
    pub(crate) room: bool,
}

impl Platform {
    /// Makes a sale and opens it. What is refused is asked again under the same request id.
    pub(crate) async fn open_sale(&self, spec: SaleSpec) -> anyhow::Result<Sale> {
        let sales = SaleServiceClient::new(self.services.sale.channel()?);
        let create = spec.creation()?;
        let sale_id = until_some(OPEN_WITHIN, "the sale is made", async || {
            let made = sales.clone().create_sale(create.clone()).await?.into_inner().sale;
            Ok::<_, Status>(made.map(|sale| sale.sale_id))
        })
        .await?;
        let start = StartSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale_id.clone(),
            // All sales of a platform offer the same two items.
            allow_shared_skus: true,
        };
        until_some(OPEN_WITHIN, "the sale is started", async || {
            sales.clone().start_sale(start.clone()).await.map(Some)
        })
        .await?;
        until_some(OPEN_WITHIN, "the sale reaches every service", async || {
            let get = GetSaleRequest { sale_id: sale_id.clone() };
            let sale = sales.clone().get_sale(get).await?.into_inner().sale;
            Ok::<_, Status>(sale.filter(|sale| sale.propagated))
        })
        .await?;
        Ok(Sale { id: sale_id.parse().context("a sale's id")?, room: spec.room })
    }

    /// Ends a sale, so that nothing is done for it any more. What is refused is asked again under
    /// the same request id.
    pub(crate) async fn end_sale(&self, sale: &Sale) -> anyhow::Result<()> {
        let request_id = Uuid::new_v4().to_string();
        let end = EndSaleRequest { request_id, sale_id: sale.id.to_string() };
        let sales = SaleServiceClient::new(self.services.sale.channel()?);
        until_some(OPEN_WITHIN, "the sale is ended", async || {
            sales.clone().end_sale(end.clone()).await.map(Some)
        })
        .await?;
        Ok(())
    }
}
