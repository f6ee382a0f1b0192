//! A program instead of a buyer. The room and the stock have to treat it as one person, whatever it
//! sends.

use std::time::Instant;

use anyhow::{bail, ensure};
use flashsale_errors::Reason;
use flashsale_proto::checkout::Line;
use futures::future::join_all;
use uuid::Uuid;

use super::buyer::{GOOD_CARD, Visitor, reason};

/// Joins sent at once by one bot.
const JOINS: usize = 10;
/// Orders sent at once with one admission.
const ORDERS: usize = 4;

impl Visitor<'_> {
    /// Joins over and over, orders without an admission and with a forged one, and then several
    /// times with the one it got.
    pub(super) async fn hammer(&self, item: usize) -> anyhow::Result<()> {
        let lines = vec![Line { sku: self.crowd.sale.items[item].sku.clone(), quantity: 1 }];
        let place = |admission| {
            self.place(Uuid::new_v4(), String::new(), lines.clone(), admission, GOOD_CARD)
        };
        let guarded = self.crowd.has_room();
        if guarded {
            let places: Vec<i64> = join_all((0..JOINS).map(|_| self.join()))
                .await
                .into_iter()
                .filter_map(Result::ok)
                .filter_map(|joined| joined.position.map(|position| position.number))
                .collect();
            ensure!(
                places.windows(2).all(|pair| pair[0] == pair[1]),
                "joining many times at once gave more than one place: {places:?}"
            );
            for admission in ["", "eyJhbGciOiJub25lIn0.e30."] {
                if let Ok(order) = place(admission).await {
                    bail!("order {} was accepted without an admission", order.order_id);
                }
            }
        }
        let Some(admission) = self.wait_in_line().await? else { return Ok(()) };
        let answers = join_all((0..ORDERS).map(|_| place(&admission))).await;
        let accepted = Instant::now();
        let mut orders = Vec::new();
        for answer in answers {
            match answer {
                Ok(order) => {
                    self.accepted(&order);
                    orders.push(order.order_id);
                }
                Err(status) if reason(&status).is_none_or(|reason| reason == Reason::Internal) => {
                    return Err(status.into());
                }
                // That it is refused is what should happen to all but one.
                Err(_) => {}
            }
        }
        ensure!(
            orders.len() <= 1 || !guarded,
            "one admission was good for {} orders",
            orders.len()
        );
        for order in orders {
            self.see_end(&order, accepted).await?;
        }
        Ok(())
    }
}
