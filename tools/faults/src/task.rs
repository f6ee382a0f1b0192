//! A fault at work: a sale with buyers in it, something that goes wrong, and what the stores say
//! when everything has come to rest.

use std::time::Duration;

use flashsale_auditor::{Invariant, Report, Verdict, audit};
use futures::future::BoxFuture;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::time::{Instant, sleep};

use crate::{
    crowd::{Crowd, Manners, Story},
    figures::Figures,
    patience::until_some,
    platform::{Platform, Sale, SaleSpec, stores::Stock},
};

/// How many orders are placed before anything goes wrong.
const UNDER_WAY: usize = 8;
/// How long that may take, or the first order after it.
const ORDERS_WITHIN: Duration = Duration::from_secs(20);
/// How long the buyers go on afterwards.
const AFTERWARDS: Duration = Duration::from_millis(300);
/// The promises that must hold under every fault.
const PROMISES: [Invariant; 5] =
    [Invariant::I1, Invariant::I2, Invariant::I5, Invariant::I7, Invariant::I9];

/// One fault of a suite.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// Its name in the report.
    pub(crate) name: &'static str,
    /// How often it is done.
    pub(crate) full: u64,
    /// How often in the short form; 0 leaves it to the long one.
    pub(crate) short: u64,
    /// Does it.
    pub(crate) run: Run,
}

/// Counts in the figures what it does, as it does it.
type Run = for<'a> fn(&'a mut Task, &'a mut Figures) -> BoxFuture<'a, anyhow::Result<()>>;

/// The figures of a fault, from those it begins with. Of one that breaks off they are what was done
/// until then, beside what broke it off.
pub(crate) async fn figures_of(
    mut figures: Figures,
    fault: impl AsyncFnOnce(&mut Figures) -> anyhow::Result<()>,
) -> Figures {
    if let Err(error) = fault(&mut figures).await {
        figures.broken.push(format!("{error:#}"));
    }
    figures
}

/// What a fault is done with.
#[derive(Debug)]
pub(crate) struct Task {
    /// What it is done to.
    pub(crate) platform: Platform,
    /// Decides what is random.
    pub(crate) random: StdRng,
    /// How often.
    pub(crate) asked: u64,
    /// Whether what takes long may be cut short.
    pub(crate) short: bool,
    /// Sales of rounds that are over, open, with what their buyers saw.
    kept: Vec<(Sale, Vec<Story>)>,
}

/// A sale under way.
#[derive(Debug)]
pub(crate) struct Round {
    /// The sale.
    pub(crate) sale: Sale,
    /// Its epoch before anything went wrong.
    pub(crate) epoch: i64,
    /// Its buyers.
    pub(crate) crowd: Crowd,
}

impl Task {
    /// A fault to be done to `platform`.
    pub(crate) fn new(platform: Platform, seed: u64, asked: u64, short: bool) -> Self {
        Self { platform, random: StdRng::seed_from_u64(seed), asked, short, kept: Vec::new() }
    }

    /// A sale in the middle of its rush.
    pub(crate) async fn round(
        &mut self,
        spec: SaleSpec,
        manners: Manners,
    ) -> anyhow::Result<Round> {
        let sale = self.platform.open_sale(spec).await?;
        self.round_in(sale, manners).await
    }

    /// As [`Self::round`], in a sale that is open.
    pub(crate) async fn round_in(&mut self, sale: Sale, manners: Manners) -> anyhow::Result<Round> {
        let (epoch, _) = self.platform.epoch(&sale).await?;
        let crowd = Crowd::come(&self.platform, &sale, self.random.random(), manners)?;
        until_some(ORDERS_WITHIN, "orders are placed", async || {
            anyhow::Ok((crowd.accepted() >= UNDER_WAY).then_some(()))
        })
        .await?;
        // Not always at the same point of whatever the buyers are at.
        sleep(Duration::from_millis(self.random.random_range(0..200))).await;
        Ok(Round { sale, epoch, crowd })
    }

    /// Waits until the sale is open again and sells, lets the buyers end, and holds the stores
    /// against each other.
    pub(crate) async fn reopen(
        &mut self,
        round: Round,
        since: Instant,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        self.await_opening(&round.sale, round.epoch, since, figures).await;
        self.goes_on(&round.crowd).await?;
        let story = round.crowd.leave().await;
        self.conclude(&round.sale, &[story], figures).await
    }

    /// Waits until the sale is open in a later epoch. That it is not says what is wrong, and the
    /// audit what comes of it.
    pub(crate) async fn await_opening(
        &self,
        sale: &Sale,
        before: i64,
        since: Instant,
        figures: &mut Figures,
    ) {
        match self.platform.reopened(sale, before, since).await {
            Ok(after) => figures.reopened(after),
            Err(error) => {
                figures.reopened(since.elapsed());
                figures.broken.push(format!("{error:#}"));
            }
        }
    }

    /// Waits for an order that is accepted from now on.
    pub(crate) async fn goes_on(&self, crowd: &Crowd) -> anyhow::Result<()> {
        let now = Instant::now();
        until_some(ORDERS_WITHIN, "orders are placed again", async || {
            anyhow::Ok(crowd.latest().filter(|latest| *latest > now))
        })
        .await?;
        sleep(AFTERWARDS).await;
        Ok(())
    }

    /// The sales that are open, this one and all that are kept, each with its epoch.
    pub(crate) async fn open_sales(&self, sale: &Sale) -> anyhow::Result<Vec<(Sale, i64)>> {
        let mut sales = vec![*sale];
        sales.extend(self.kept.iter().map(|(kept, _)| *kept));
        self.platform.epochs(&sales).await
    }

    /// Waits until all of these sales are open in later epochs. That one is not says what is wrong,
    /// and the audit what comes of it.
    pub(crate) async fn await_openings(
        &self,
        sales: &[(Sale, i64)],
        since: Instant,
        figures: &mut Figures,
    ) {
        match self.platform.reopened_all(sales, since).await {
            Ok(opened) => {
                figures.reopened(opened.iter().max().copied().unwrap_or_default());
                figures.lasted("all_reopen_seconds", opened);
            }
            Err(error) => {
                figures.reopened(since.elapsed());
                figures.broken.push(format!("{error:#}"));
            }
        }
    }

    /// Waits until everything has come to rest, then holds the stores and the buyers' stories
    /// against each other, the stock above all, and ends the sale.
    pub(crate) async fn conclude(
        &mut self,
        sale: &Sale,
        stories: &[Story],
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        self.examine(sale, stories, figures).await?;
        self.end(sale, figures).await;
        Ok(())
    }

    /// As [`Self::conclude`], but the sale stays open until [`Self::conclude_kept`], so that
    /// whatever comes happens to it, too.
    pub(crate) async fn keep(
        &mut self,
        sale: Sale,
        stories: Vec<Story>,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        self.examine(&sale, &stories, figures).await?;
        self.kept.push((sale, stories));
        Ok(())
    }

    /// Concludes all sales that were kept.
    pub(crate) async fn conclude_kept(&mut self, figures: &mut Figures) -> anyhow::Result<()> {
        for (sale, stories) in std::mem::take(&mut self.kept) {
            self.conclude(&sale, &stories, figures).await?;
        }
        Ok(())
    }

    async fn examine(
        &mut self,
        sale: &Sale,
        stories: &[Story],
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let report = self.audit(sale, stories, false, figures).await?;
        figures.wrong("leaked_units", report.value["leaked_units"].as_i64().unwrap_or(0));
        let stock = Stock::read(self.platform.redis.port(), sale.id).await?;
        figures.wrong("double_executions", stock.taken_twice());
        let served = self.platform.served_by_an_old_epoch(sale, &stock).await?;
        figures.wrong("old_epoch_served", i64::try_from(served.len())?);
        Ok(())
    }

    /// Ends a sale that nothing more is to be read of.
    pub(crate) async fn end(&self, sale: &Sale, figures: &mut Figures) {
        if let Err(error) = self.platform.end_sale(sale).await {
            figures.broken.push(format!("sale {}: {error:#}", sale.id));
        }
    }

    /// Waits until everything has come to rest, and has the auditor read the stores and what the
    /// buyers saw, with the mails or without.
    pub(crate) async fn audit(
        &mut self,
        sale: &Sale,
        stories: &[Story],
        mails: bool,
        figures: &mut Figures,
    ) -> anyhow::Result<Report> {
        // What does not come to rest is what the audit is for.
        if let Err(error) = self.platform.rest(sale).await {
            figures.broken.push(format!("sale {}: {error:#}", sale.id));
        }
        let history = self.platform.file("history.jsonl");
        std::fs::remove_file(&history).ok();
        for story in stories {
            story.ask_for_ends().await;
            story.write(&history)?;
            figures
                .broken
                .extend(story.wrong().into_iter().map(|wrong| format!("a buyer saw: {wrong}")));
        }
        let mut options = self.platform.audit_options(sale);
        options.history = Some(history);
        options.mail_log = mails.then(|| self.platform.mail_log());
        let report = audit(&options).await;
        figures.expect(report.verdict != Verdict::Unread, || format!("not audited: {report}"));
        figures.wrong("oversold", report.value["oversold"].as_i64().unwrap_or(0));
        for promise in PROMISES {
            let named = report.violations(promise).into_iter();
            figures.broken.extend(named.map(|what| format!("{}: {what}", promise.name())));
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn what_was_done_before_a_fault_broke_off_is_kept() {
        let figures = Figures::new(20, &[("oversold", "units oversold")]);
        let figures = figures_of(figures, async |figures| {
            figures.runs = 10;
            figures.wrong("oversold", 1);
            figures.count("writes_lost", 7);
            figures.reopened(Duration::from_secs(3));
            bail!("no order is placed any more");
        })
        .await;
        assert_eq!(
            figures.faults(),
            ["1 units oversold", "10 of 20 runs done", "no order is placed any more"]
        );
        let json = figures.json();
        assert_eq!((&json["runs"], &json["writes_lost"]), (&10.into(), &7.into()));
        assert_eq!(json["reopen_seconds_max"], 3.0);
    }
}
