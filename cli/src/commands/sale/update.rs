//! `flashsale sale update`.

use clap::Args;
use flashsale_cli::{
    client::{request, request_id},
    output::Output,
};
use flashsale_errors::Failure;
use flashsale_proto::{
    Money,
    sale::{GetSaleRequest, Item, RoomSettings, Sale, SaleSettings, SaleState, UpdateSaleRequest},
};
use prost_types::{FieldMask, Timestamp};
use time::OffsetDateTime;

use super::{Sales, parse_price, repeatable, seconds};
use crate::{commands::import::refused, times};

/// How far this machine's clock may be off: so long after its moment a change of prices may still
/// not be in effect.
const CLOCKS_APART_S: i64 = 60;

/// Units and nanos.
type Amount = (i64, i32);

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The sale's id.
    sale_id: String,
    #[command(flatten)]
    changed: Changed,
    /// From when on --price, --regular-price and --limit hold, once the sale is prepared: at least
    /// 2 seconds ahead. Without it only limits change, at once. A change that waits for the very
    /// same time is replaced: a sku that is not named costs then what it costs now.
    #[arg(long, value_name = "TIME")]
    effective_at: Option<String>,
    /// The time zone of times without an offset, for example Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// The version you have seen (`flashsale sale show --json`): another one is refused, instead of
    /// changed unseen.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..))]
    version: Option<i64>,
    /// Why, for `flashsale sale changes`.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// The request's id, a UUID, to repeat a request whose outcome is unknown.
    #[arg(long)]
    request_id: Option<String>,
}

/// What changes; one of them at least.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changed {
    /// The sale's name.
    #[arg(long)]
    name: Option<String>,
    /// When it opens, of a sale that has not begun: 2026-11-27T10:00 with --time-zone, or
    /// 2026-11-27T10:00+01:00.
    #[arg(long, value_name = "TIME")]
    starts_at: Option<String>,
    /// When it closes: 2026-11-27T10:00 with --time-zone, or 2026-11-27T10:00+01:00.
    #[arg(long, value_name = "TIME")]
    ends_at: Option<String>,
    /// How long units stay held that are taken from then on, for example 10m.
    #[arg(long, value_name = "DURATION", value_parser = times::seconds)]
    hold: Option<i64>,
    /// How many buyers per second the waiting room admits.
    #[arg(long, value_name = "PER_SECOND", allow_negative_numbers = true)]
    room_rate: Option<f64>,
    /// How long before the sale opens buyers may join, for example 30m.
    #[arg(long, value_name = "DURATION", value_parser = times::seconds)]
    pre_queue: Option<i64>,
    /// How long buyers may take to authenticate a payment, for example 15m.
    #[arg(long, value_name = "DURATION", value_parser = times::seconds)]
    payment_patience: Option<i64>,
    /// Whether the sale may offer what another one offers at the same time.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    allow_shared_skus: Option<bool>,
    /// What a sku costs, for example TEE-M=12.00; may be repeated.
    #[arg(long = "price", value_name = "SKU=PRICE", value_parser = sku_price)]
    prices: Vec<(String, Amount)>,
    /// What a sku costs outside the sale, for example TEE-M=19.00, or TEE-M=none; may be repeated.
    #[arg(long = "regular-price", value_name = "SKU=PRICE", value_parser = sku_regular_price)]
    regular_prices: Vec<(String, Option<Amount>)>,
    /// How many units of a sku one buyer may have, for example TEE-M=2; 0 means no limit; may be
    /// repeated.
    #[arg(long = "limit", value_name = "SKU=UNITS", value_parser = sku_limit)]
    limits: Vec<(String, i64)>,
}

/// A sku, which may have equals signs, and what is behind the last one.
fn of_sku<'a, T>(
    text: &'a str,
    example: &str,
    read: impl Fn(&'a str) -> Option<T>,
) -> Result<(String, T), String> {
    let parsed = text.rsplit_once('=').and_then(|(sku, value)| Some((sku, read(value)?)));
    let (sku, value) = parsed.ok_or_else(|| format!("write it such as {example}"))?;
    Ok((sku.to_owned(), value))
}

fn sku_price(text: &str) -> Result<(String, Amount), String> {
    of_sku(text, "TEE-M=12.00, with digits and a point", parse_price)
}

fn sku_regular_price(text: &str) -> Result<(String, Option<Amount>), String> {
    let read =
        |price: &str| if price == "none" { Some(None) } else { parse_price(price).map(Some) };
    of_sku(text, "TEE-M=19.00, or TEE-M=none", read)
}

fn sku_limit(text: &str) -> Result<(String, i64), String> {
    of_sku(text, "TEE-M=2", |units| units.parse().ok())
}

impl Changed {
    fn changes_items(&self) -> bool {
        !(self.prices.is_empty() && self.regular_prices.is_empty() && self.limits.is_empty())
    }

    /// The items of the sale with what changes of them.
    fn items(&self, sale: &Sale) -> Result<Vec<Item>, Failure> {
        let currency = sale.settings.as_ref().map(|settings| settings.currency.as_str());
        let money = |(units, nanos): Amount| Money {
            currency_code: currency.unwrap_or_default().to_owned(),
            units,
            nanos,
        };
        let mut items = sale.items.clone();
        for (sku, price) in &self.prices {
            named("--price", &mut items, sku)?.unit_price = Some(money(*price));
        }
        for (sku, price) in &self.regular_prices {
            named("--regular-price", &mut items, sku)?.regular_price = price.map(money);
        }
        for (sku, limit) in &self.limits {
            named("--limit", &mut items, sku)?.per_buyer_limit = *limit;
        }
        Ok(items)
    }
}

/// The item that an option names.
fn named<'a>(option: &str, items: &'a mut [Item], sku: &str) -> Result<&'a mut Item, Failure> {
    items.iter_mut().find(|item| item.sku == sku).ok_or_else(|| {
        Failure::invalid(option, format!("names {sku}, which the sale does not offer"))
    })
}

/// Whether the items of a sale can be changed by what the answer to GetSale tells of them.
///
/// The list that is sent says what all of them cost at `effective_at`. That is known if no other
/// change takes effect before.
fn check_time(
    sale: &Sale,
    prices_change: bool,
    effective_at: Option<&Timestamp>,
) -> Result<(), Failure> {
    let refused = |what: String| Err(Failure::invalid("--effective-at", what));
    let running = match sale.state() {
        SaleState::Prepared | SaleState::Open | SaleState::Paused => true,
        SaleState::Unspecified
        | SaleState::Draft
        | SaleState::Scheduled
        | SaleState::Ended
        | SaleState::Cancelled => false,
    };
    let Some(at) = effective_at else {
        if running && prices_change {
            return refused(
                "is missing: prices of a sale that is prepared or on change at a time, at least 2 \
                 seconds ahead; only --limit works at once"
                    .to_owned(),
            );
        }
        return Ok(());
    };
    if !running {
        return refused(
            "is for a sale that is prepared; leave it out, prices change at once".to_owned(),
        );
    }
    let settled = OffsetDateTime::now_utc().unix_timestamp() - CLOCKS_APART_S;
    let before = sale.price_revisions.iter().find(|revision| {
        let asked = revision.effective_at.as_ref();
        let switch = revision.switch_time.as_ref().or(asked);
        revision.replaced_by == 0
            && asked.is_some_and(|asked| (asked.seconds, asked.nanos) < (at.seconds, at.nanos))
            && switch.is_none_or(|switch| switch.seconds > settled)
    });
    match before {
        None => Ok(()),
        Some(revision) => refused(format!(
            "is later than revision {} of the prices, which takes effect at {}: name that time to \
             replace it, an earlier one, or try again a minute after it",
            revision.revision,
            flashsale_cli::client::time(revision.effective_at.as_ref()),
        )),
    }
}

impl UpdateArgs {
    /// The request. `sale` is the sale as it is, if its items change.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` naming the option, for a time that is none or that does not suit, and for
    /// a sku that the sale does not offer.
    fn into_request(self, sale: Option<&Sale>) -> anyhow::Result<UpdateSaleRequest> {
        let changed = self.changed;
        let without_time = [&changed.starts_at, &changed.ends_at, &self.effective_at];
        if self.time_zone.is_some() && without_time.into_iter().all(Option::is_none) {
            let what = "is for --starts-at, --ends-at and --effective-at; leave it out";
            return Err(refused(Failure::invalid("--time-zone", what)));
        }
        if self.effective_at.is_some() && !changed.changes_items() {
            let what = "is for --price, --regular-price and --limit; leave it out";
            return Err(refused(Failure::invalid("--effective-at", what)));
        }
        let zone = self.time_zone.as_deref().map(times::zone).transpose().map_err(refused)?;
        let (mut settings, mut room) = (SaleSettings::default(), RoomSettings::default());
        let mut paths = Vec::new();
        let mut name_path = |path: &str| paths.push(path.to_owned());
        let effective_at = self
            .effective_at
            .map(|text| times::moment("--effective-at", &text, zone.as_ref()))
            .transpose()
            .map_err(refused)?
            .map(times::wire);
        let mut items = Vec::new();
        if let Some(sale) = sale {
            let prices_change = !(changed.prices.is_empty() && changed.regular_prices.is_empty());
            check_time(sale, prices_change, effective_at.as_ref()).map_err(refused)?;
            items = changed.items(sale).map_err(refused)?;
            name_path("items");
        }
        if let Some(name) = changed.name {
            settings.name = name;
            name_path("name");
        }
        if let Some(text) = changed.starts_at {
            let at = times::moment("--starts-at", &text, zone.as_ref()).map_err(refused)?;
            settings.starts_at = Some(times::wire(at));
            name_path("starts_at");
        }
        if let Some(text) = changed.ends_at {
            let at = times::moment("--ends-at", &text, zone.as_ref()).map_err(refused)?;
            settings.ends_at = Some(times::wire(at));
            name_path("ends_at");
        }
        if let Some(hold) = changed.hold {
            settings.hold_ttl = Some(seconds(hold));
            name_path("hold_ttl");
        }
        if let Some(patience) = changed.payment_patience {
            settings.payment_patience = Some(seconds(patience));
            name_path("payment_patience");
        }
        if let Some(rate) = changed.room_rate {
            room.admissions_per_second = rate;
            name_path("room.admissions_per_second");
        }
        if let Some(early) = changed.pre_queue {
            room.pre_queue = Some(seconds(early));
            name_path("room.pre_queue");
        }
        let of_room = changed.room_rate.is_some() || changed.pre_queue.is_some();
        settings.room = of_room.then_some(room);
        Ok(UpdateSaleRequest {
            request_id: self.request_id.unwrap_or_else(request_id),
            sale_id: self.sale_id,
            settings: Some(settings),
            update_mask: Some(FieldMask { paths }),
            items,
            // The items are those of the version that was read.
            version: self.version.or(sale.map(|sale| sale.version)).unwrap_or_default(),
            reason: self.reason.unwrap_or_default(),
            allow_shared_skus: changed.allow_shared_skus,
            effective_at,
        })
    }
}

pub(super) async fn run(
    args: UpdateArgs,
    mut sales: Sales,
    output: &Output,
) -> anyhow::Result<Option<Sale>> {
    let sale = if args.changed.changes_items() {
        let asked = GetSaleRequest { sale_id: args.sale_id.clone() };
        sales.get_sale(request(asked)).await?.into_inner().sale
    } else {
        None
    };
    let asked = args.into_request(sale.as_ref())?;
    let mut repeat = asked.request_id.clone();
    if sale.is_some() {
        // Its items are of this version.
        repeat = format!("{repeat} --version {}", asked.version);
    }
    let answer = sales.update_sale(request(asked)).await;
    Ok(answer.map_err(|status| repeatable(status, &repeat, output))?.into_inner().sale)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;
    use flashsale_proto::sale::PriceRevision;
    use tonic::Status;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        update: UpdateArgs,
    }

    fn line(args: &[&str]) -> Result<UpdateArgs, clap::Error> {
        let args = ["update", "sale"].iter().chain(args);
        Line::try_parse_from(args).map(|line| line.update)
    }

    #[test]
    fn the_mask_names_what_was_given() {
        let args = [
            "--name=Spring drop",
            "--starts-at=2026-11-27T11:00",
            "--ends-at=2026-11-27T12:00",
            "--time-zone=Europe/Berlin",
            "--hold=10m",
            "--payment-patience=15m",
            "--room-rate=5.5",
            "--pre-queue=1h",
            "--version=3",
            "--reason=more time",
        ];
        let asked = line(&args).unwrap().into_request(None).unwrap();
        let mut paths = asked.update_mask.unwrap().paths;
        paths.sort_unstable();
        assert_eq!(
            paths,
            [
                "ends_at",
                "hold_ttl",
                "name",
                "payment_patience",
                "room.admissions_per_second",
                "room.pre_queue",
                "starts_at"
            ]
        );
        let settings = asked.settings.unwrap();
        assert_eq!(settings.ends_at.map(|at| at.seconds), Some(1_795_777_200));
        assert_eq!(settings.hold_ttl, Some(seconds(600)));
        assert_eq!(settings.payment_patience, Some(seconds(900)));
        let room = settings.room.unwrap();
        assert_eq!((room.admissions_per_second, room.pre_queue), (5.5, Some(seconds(3_600))));
        assert_eq!((asked.version, asked.reason.as_str()), (3, "more time"));

        let asked = line(&["--name="]).unwrap().into_request(None).unwrap();
        assert_eq!(asked.update_mask.unwrap().paths, ["name"]);
        assert_eq!((asked.settings.unwrap().room, asked.version), (None, 0));
        for (option, expected) in
            [("--allow-shared-skus", true), ("--allow-shared-skus=false", false)]
        {
            let asked = line(&[option]).unwrap().into_request(None).unwrap();
            assert_eq!(asked.allow_shared_skus, Some(expected), "{option}");
            assert!(asked.update_mask.unwrap().paths.is_empty());
        }
    }

    #[test]
    fn something_has_to_change() {
        assert!(line(&[]).is_err());
        assert!(line(&["--reason=none", "--version=3"]).is_err());
        assert!(line(&["--name=A", "--version=0"]).is_err());
        assert!(line(&["--effective-at=2026-11-27T10:00Z"]).is_err());
        for (option, args) in [
            ("--time-zone", ["--name=A", "--time-zone=Europe/Berlin"]),
            ("--effective-at", ["--name=A", "--effective-at=2026-11-27T10:00Z"]),
        ] {
            assert_eq!(said(line(&args).unwrap().into_request(None)).0, option);
        }
    }

    /// The option that a refusal names, and its text.
    fn said(asked: anyhow::Result<UpdateSaleRequest>) -> (String, String) {
        let refused = asked.unwrap_err();
        let failure = Failure::from_status(refused.downcast_ref::<Status>().unwrap()).unwrap();
        (failure.violations()[0].field.clone(), failure.what().to_owned())
    }

    fn item(sku: &str) -> Item {
        let price = |units| Some(Money { currency_code: "EUR".to_owned(), units, nanos: 0 });
        Item {
            sku: sku.to_owned(),
            title: sku.to_owned(),
            unit_price: price(10),
            regular_price: price(15),
            quantity: 5,
            per_buyer_limit: 2,
        }
    }

    fn sale(state: SaleState) -> Sale {
        let settings = SaleSettings { currency: "EUR".to_owned(), ..SaleSettings::default() };
        Sale {
            settings: Some(settings),
            state: state.into(),
            version: 7,
            items: vec![item("TEE"), item("a=b")],
            ..Sale::default()
        }
    }

    #[test]
    fn all_items_are_sent_with_what_changes() {
        let args = [
            "--price=TEE=8.50",
            "--regular-price=a=b=none",
            "--limit=a=b=1",
            "--effective-at=2026-11-27T12:00",
            "--time-zone=Europe/Berlin",
        ];
        let open = sale(SaleState::Open);
        let asked = line(&args).unwrap().into_request(Some(&open)).unwrap();
        assert_eq!(asked.update_mask.unwrap().paths, ["items"]);
        assert_eq!(asked.effective_at.map(|at| at.seconds), Some(1_795_777_200));
        assert_eq!(asked.version, 7);
        let price = Some(Money { currency_code: "EUR".to_owned(), units: 8, nanos: 500_000_000 });
        let tee = Item { unit_price: price, ..item("TEE") };
        let other = Item { regular_price: None, per_buyer_limit: 1, ..item("a=b") };
        assert_eq!(asked.items, [tee, other]);
        let seen = line(&["--limit=TEE=1", "--version=3"]).unwrap();
        assert_eq!(seen.into_request(Some(&open)).unwrap().version, 3);
    }

    #[test]
    fn wrong_prices_name_their_option() {
        for option in ["--price=TEE", "--price=TEE=-1", "--price=TEE=1,50", "--limit=TEE=x"] {
            let error = line(&[option]).unwrap_err().to_string();
            assert!(error.contains("write it such as TEE-M="), "{error}");
        }
        let at = "--effective-at=2026-11-27T12:00Z";
        for (state, args, option, text) in [
            (SaleState::Open, ["--price=CAP=1", at], "--price", "names CAP"),
            (SaleState::Open, ["--limit=CAP=1", at], "--limit", "names CAP"),
            (SaleState::Open, ["--price=TEE=1", "--limit=TEE=1"], "--effective-at", "is missing"),
            (SaleState::Draft, ["--price=TEE=1", at], "--effective-at", "leave it out"),
        ] {
            let asked = line(&args).unwrap().into_request(Some(&sale(state)));
            let (field, what) = said(asked);
            assert_eq!(field, option);
            assert!(what.contains(text), "{what}");
        }
        // Neither needs a time: a draft changes at once, and so do limits.
        assert!(
            line(&["--price=TEE=1"]).unwrap().into_request(Some(&sale(SaleState::Draft))).is_ok()
        );
        assert!(
            line(&["--limit=TEE=1"]).unwrap().into_request(Some(&sale(SaleState::Open))).is_ok()
        );
    }

    /// What the items cost then is not in the answer.
    #[test]
    fn a_time_behind_a_change_that_waits_is_refused() {
        let in_s = |seconds| {
            let seconds = OffsetDateTime::now_utc().unix_timestamp() + seconds;
            Some(Timestamp { seconds, nanos: 0 })
        };
        let mut open = sale(SaleState::Open);
        let asked = |sale: &Sale, at: Option<Timestamp>| {
            let at = format!("--effective-at={}", flashsale_cli::client::time(at.as_ref()));
            line(&["--price=TEE=1", &at]).unwrap().into_request(Some(sale))
        };
        let waits = in_s(3_600);
        open.price_revisions =
            vec![PriceRevision { revision: 2, effective_at: waits, ..PriceRevision::default() }];
        assert!(said(asked(&open, in_s(7_200))).1.contains("revision 2"));
        assert!(asked(&open, waits).is_ok());
        assert!(asked(&open, in_s(60)).is_ok());
        open.price_revisions[0].replaced_by = 3;
        assert!(asked(&open, in_s(7_200)).is_ok());
        let past =
            PriceRevision { effective_at: in_s(-120), replaced_by: 0, ..open.price_revisions[0] };
        open.price_revisions = vec![past];
        assert!(asked(&open, in_s(7_200)).is_ok());
    }
}
