//! `flashsale sale schedule`, and a sale's window as options name it.

use clap::Args;
use flashsale_catalogue::shop_time;
use flashsale_cli::{
    client::{request, request_id},
    output::Output,
};
use flashsale_errors::Failure;
use flashsale_proto::sale::{Sale, ScheduleSaleRequest};
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::{Sales, repeatable};
use crate::{commands::import::refused, times};

#[derive(Debug, Args)]
pub(crate) struct ScheduleArgs {
    /// The sale's id. Without times, those of its settings hold.
    sale_id: String,
    #[command(flatten)]
    window: WindowArgs,
    /// Schedule it although another sale offers one of its skus at the same time; each sells the
    /// units that it was given.
    #[arg(long)]
    allow_shared_skus: bool,
    /// The request's id, a UUID, to repeat a request whose outcome is unknown.
    #[arg(long)]
    request_id: Option<String>,
}

/// When a sale opens and closes.
#[derive(Debug, Args)]
pub(crate) struct WindowArgs {
    /// When the sale opens: 2026-11-27T10:00 with --time-zone, or 2026-11-27T10:00+01:00.
    #[arg(long, value_name = "TIME")]
    starts_at: Option<String>,
    /// When it closes, likewise.
    #[arg(long, value_name = "TIME", conflicts_with = "lasting")]
    ends_at: Option<String>,
    /// How long it is open, in place of --ends-at, for example 90m, 2h or 1h30m; a day, 1d, has 24
    /// hours.
    #[arg(long = "for", value_name = "DURATION", value_parser = times::seconds, requires = "starts_at")]
    lasting: Option<i64>,
    /// The time zone of times without an offset, for example Europe/Berlin. In an import also that
    /// of the dates in the file, which are in UTC without it.
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
}

/// The moments behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) starts_at: Option<OffsetDateTime>,
    pub(crate) ends_at: Option<OffsetDateTime>,
}

impl WindowArgs {
    /// The moments that the options mean.
    ///
    /// # Errors
    /// `ARGUMENT_INVALID` naming the option: an unknown zone, what is no time, or one that is none
    /// or two in its zone.
    pub(crate) fn read(&self) -> anyhow::Result<Window> {
        let zone = self.time_zone.as_deref().map(times::zone).transpose().map_err(refused)?;
        let moment = |option: &str, text: Option<&String>| {
            text.map(|text| times::moment(option, text, zone.as_ref())).transpose().map_err(refused)
        };
        let starts_at = moment("--starts-at", self.starts_at.as_ref())?;
        let mut ends_at = moment("--ends-at", self.ends_at.as_ref())?;
        if let (Some(start), Some(seconds)) = (starts_at, self.lasting) {
            // Beyond the calendar a service refuses it.
            ends_at = Some(start.saturating_add(Duration::seconds(seconds)));
        }
        Ok(Window { starts_at, ends_at })
    }

    /// The name of the zone; empty without one.
    pub(crate) fn time_zone(&self) -> &str {
        self.time_zone.as_deref().unwrap_or_default()
    }

    /// When the sale begins, by the shop's clock.
    ///
    /// # Errors
    /// As [`WindowArgs::read`].
    pub(crate) fn shop_time(&self) -> anyhow::Result<Option<PrimitiveDateTime>> {
        let starts_at = self.read()?.starts_at;
        shop_time(starts_at, self.time_zone())
            .map_err(|zone| refused(Failure::invalid("--time-zone", zone.to_string())))
    }
}

pub(super) async fn run(
    args: ScheduleArgs,
    mut sales: Sales,
    output: &Output,
) -> anyhow::Result<Option<Sale>> {
    let window = args.window.read()?;
    let id = args.request_id.unwrap_or_else(request_id);
    let asked = ScheduleSaleRequest {
        request_id: id.clone(),
        sale_id: args.sale_id,
        starts_at: window.starts_at.map(times::wire),
        ends_at: window.ends_at.map(times::wire),
        allow_shared_skus: args.allow_shared_skus,
    };
    let answer = sales.schedule_sale(request(asked)).await;
    Ok(answer.map_err(|status| repeatable(status, &id, output))?.into_inner().sale)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;
    use time::macros::datetime;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        window: WindowArgs,
    }

    fn line(args: &[&str]) -> Result<WindowArgs, clap::Error> {
        Line::try_parse_from(["schedule"].iter().chain(args)).map(|line| line.window)
    }

    #[test]
    fn a_window_is_named_by_its_end_or_its_length() {
        let starts_at = "--starts-at=2026-10-24T20:00";
        let zone = "--time-zone=Europe/Berlin";
        let start = datetime!(2026-10-24 18:00 UTC);
        for (end, expected) in [
            ("--ends-at=2026-10-25T20:00", datetime!(2026-10-25 19:00 UTC)),
            // 24 hours are not a day when clocks are put back.
            ("--for=1d", datetime!(2026-10-25 18:00 UTC)),
            ("--for=1h30m", datetime!(2026-10-24 19:30 UTC)),
        ] {
            let window = line(&[starts_at, end, zone]).unwrap().read().unwrap();
            assert_eq!(window, Window { starts_at: Some(start), ends_at: Some(expected) }, "{end}");
        }
        let none = Window { starts_at: None, ends_at: None };
        assert_eq!(line(&[]).unwrap().read().unwrap(), none);
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        let start = "--starts-at=2026-10-24T20:00Z";
        assert!(line(&[start, "--ends-at=2026-10-25T20:00Z", "--for=1h"]).is_err());
        assert!(line(&["--for=1h"]).is_err());
        assert!(line(&[start, "--for=1 hour"]).is_err());
    }

    #[test]
    fn the_shops_clock_is_that_of_its_zone() {
        let midnight = Some(datetime!(2026-11-27 0:00));
        for (args, expected) in [
            (&["--starts-at=2026-11-27T00:00", "--time-zone=Europe/Berlin"][..], midnight),
            (&["--starts-at=2026-11-26T23:00Z", "--time-zone=Europe/Berlin"], midnight),
            (&["--starts-at=2026-11-27T01:00+01:00"], midnight),
            (&["--time-zone=Europe/Berlin"], None),
        ] {
            assert_eq!(line(args).unwrap().shop_time().unwrap(), expected, "{args:?}");
        }
    }

    #[test]
    fn an_unknown_zone_is_refused_with_times_that_need_none() {
        let args = ["--starts-at=2026-10-24T20:00Z", "--time-zone=Europe/Berln"];
        let error = line(&args).unwrap().read().unwrap_err();
        assert!(error.to_string().contains("did you mean Europe/Berlin"), "{error}");
    }
}
