//! `flashsale sale update`.

use clap::Args;
use flashsale_cli::{
    client::{request, request_id},
    output::Output,
};
use flashsale_proto::sale::{RoomSettings, Sale, SaleSettings, UpdateSaleRequest};
use prost_types::FieldMask;

use super::{Sales, repeatable, seconds};
use crate::{commands::import::refused, times};

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The sale's id.
    sale_id: String,
    #[command(flatten)]
    changed: Changed,
    /// The time zone of --ends-at without an offset, for example Europe/Berlin.
    #[arg(long, value_name = "ZONE", requires = "ends_at")]
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
}

impl UpdateArgs {
    /// The request.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` naming the option, for a time that is none.
    fn into_request(self) -> anyhow::Result<UpdateSaleRequest> {
        let changed = self.changed;
        let zone = self.time_zone.as_deref().map(times::zone).transpose().map_err(refused)?;
        let (mut settings, mut room) = (SaleSettings::default(), RoomSettings::default());
        let mut paths = Vec::new();
        let mut name_path = |path: &str| paths.push(path.to_owned());
        if let Some(name) = changed.name {
            settings.name = name;
            name_path("name");
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
            items: Vec::new(),
            version: self.version.unwrap_or_default(),
            reason: self.reason.unwrap_or_default(),
            allow_shared_skus: changed.allow_shared_skus,
        })
    }
}

pub(super) async fn run(
    args: UpdateArgs,
    mut sales: Sales,
    output: &Output,
) -> anyhow::Result<Option<Sale>> {
    let asked = args.into_request()?;
    let id = asked.request_id.clone();
    let answer = sales.update_sale(request(asked)).await;
    Ok(answer.map_err(|status| repeatable(status, &id, output))?.into_inner().sale)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

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
            "--ends-at=2026-11-27T12:00",
            "--time-zone=Europe/Berlin",
            "--hold=10m",
            "--payment-patience=15m",
            "--room-rate=5.5",
            "--pre-queue=1h",
            "--version=3",
            "--reason=more time",
        ];
        let asked = line(&args).unwrap().into_request().unwrap();
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
                "room.pre_queue"
            ]
        );
        let settings = asked.settings.unwrap();
        assert_eq!(settings.ends_at.map(|at| at.seconds), Some(1_795_777_200));
        assert_eq!(settings.hold_ttl, Some(seconds(600)));
        assert_eq!(settings.payment_patience, Some(seconds(900)));
        let room = settings.room.unwrap();
        assert_eq!((room.admissions_per_second, room.pre_queue), (5.5, Some(seconds(3_600))));
        assert_eq!((asked.version, asked.reason.as_str()), (3, "more time"));

        let asked = line(&["--name="]).unwrap().into_request().unwrap();
        assert_eq!(asked.update_mask.unwrap().paths, ["name"]);
        assert_eq!((asked.settings.unwrap().room, asked.version), (None, 0));
        for (option, expected) in
            [("--allow-shared-skus", true), ("--allow-shared-skus=false", false)]
        {
            let asked = line(&[option]).unwrap().into_request().unwrap();
            assert_eq!(asked.allow_shared_skus, Some(expected), "{option}");
            assert!(asked.update_mask.unwrap().paths.is_empty());
        }
    }

    #[test]
    fn something_has_to_change() {
        assert!(line(&[]).is_err());
        assert!(line(&["--reason=none", "--version=3"]).is_err());
        assert!(line(&["--name=A", "--version=0"]).is_err());
        assert!(line(&["--name=A", "--time-zone=Europe/Berlin"]).is_err());
    }
}
