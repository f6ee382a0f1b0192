//! How commands reach the services, and how messages are shown as JSON and text.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use flashsale_access::Key;
pub use flashsale_connect::is_loopback;
use flashsale_home::Home;
use flashsale_proto::{Money, NamedChannel, checkout, inventory, sale};
use iso_currency::Currency;
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::{
    Code, Status, TimeoutExpired,
    codegen::http::Uri,
    transport::{Certificate, ClientTlsConfig, Endpoint, Identity},
};

use crate::program::ServerArgs;

/// The default address of the services.
const DEFAULT_ADDR: &str = "http://127.0.0.1:50051";
/// The deadline of a unary call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP/2 keepalive: the interval of pings on a quiet connection, and the time to answer one. A
/// stream that is watched has no deadline.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most bytes that an import takes (`ImportSaleRequest.content`).
pub const MAX_EXPORT_BYTES: u64 = 3 * 1_024 * 1_024;

/// The file in which `flashsale up` records its address.
pub fn up_file() -> anyhow::Result<PathBuf> {
    Ok(Home::locate()?.path().join("up.json"))
}

/// The file in which `flashsale up` leaves the operator's key, beside [`up_file`].
pub fn up_key_file(up_file: &Path) -> PathBuf {
    up_file.with_file_name("up.key")
}

/// The file in which it leaves the shop's key.
pub fn up_shop_key_file(up_file: &Path) -> PathBuf {
    up_file.with_file_name("up-shop.key")
}

/// The services that a command speaks to.
#[derive(Debug)]
pub struct Target {
    addr: String,
    source: Source,
    key_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    /// Where `flashsale up` leaves the key to call it with.
    up_key_file: fn(&Path) -> PathBuf,
}

/// A file with a key, and the servers it may be sent to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    key: String,
    servers: Vec<String>,
}

/// Where an address came from.
#[derive(Debug)]
enum Source {
    /// `--addr` or its variable.
    Given,
    /// The file that `flashsale up` wrote.
    Up(PathBuf),
    /// [`DEFAULT_ADDR`].
    Default,
}

impl Target {
    /// The address in `--addr`, else that of a running `flashsale up`, else the default one.
    pub fn find(args: ServerArgs) -> Self {
        let ServerArgs { addr: given, key_file, ca_file, cert_file } = args;
        let (addr, source) = match given.filter(|addr| !addr.is_empty()) {
            Some(addr) if addr.contains("://") => (addr, Source::Given),
            Some(addr) => (format!("http://{addr}"), Source::Given),
            None => match running() {
                Some((addr, file)) => (addr, Source::Up(file)),
                None => (DEFAULT_ADDR.to_owned(), Source::Default),
            },
        };
        Self { addr, source, key_file, ca_file, cert_file, up_key_file }
    }

    /// The same, called as a shop: buyers come through one.
    #[must_use]
    pub fn for_shop(self) -> Self {
        Self { up_key_file: up_shop_key_file, ..self }
    }

    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// A channel to the services, which connects with the first call. Its calls carry the key that
    /// is for this address, if there is one.
    ///
    /// # Errors
    /// If the address is none, the key cannot be read, or it would go over plaintext to another
    /// machine.
    pub fn connect(&self) -> anyhow::Result<NamedChannel> {
        let channel = self.endpoint()?.connect_lazy();
        Ok(NamedChannel::with(channel, self.key()?.as_ref()))
    }

    /// How to connect to the services.
    ///
    /// # Errors
    /// If the address is none, or the authority or the certificate cannot be read.
    pub fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let addr = &self.addr;
        let not_an_address = || format!("{addr} is not an address such as {DEFAULT_ADDR}");
        let uri: Uri = addr.parse().with_context(not_an_address)?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => bail!(not_an_address()),
        };
        let endpoint = Endpoint::from_shared(addr.clone())
            .with_context(not_an_address)?
            .connect_timeout(Duration::from_secs(3))
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        if !secure {
            return Ok(endpoint);
        }
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let mut tls = match &self.ca_file {
            Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(path)?)),
            None => ClientTlsConfig::new().with_webpki_roots(),
        };
        if let Some(path) = &self.cert_file {
            let both = read(path)?;
            tls = tls.identity(Identity::from_pem(&both, &both));
        }
        endpoint.tls_config(tls).context(
            "the authority of --ca-file, or the certificate and key of --cert-file, cannot be used",
        )
    }

    /// The key for this address. An address that a folder names gets the key of that folder alone:
    /// anyone who can write one into it must not be sent another key.
    ///
    /// # Errors
    /// If the key cannot be read, is for other servers, or would go over plaintext to another
    /// machine.
    pub fn key(&self) -> anyhow::Result<Option<Key>> {
        let key = match (&self.source, &self.key_file) {
            (Source::Up(file), _) => self.key_of_up(file)?,
            (Source::Given | Source::Default, Some(path)) => Some(self.key_in(path)?),
            // Named by hand, it may be the address of `up` all the same.
            (Source::Given | Source::Default, None) => match running() {
                Some((addr, file)) if addr == self.addr => self.key_of_up(&file)?,
                Some(_) | None => None,
            },
        };
        let Some(key) = key else { return Ok(None) };
        let uri: Uri = self.addr.parse()?;
        if uri.scheme_str() == Some("http") && !uri.host().is_some_and(is_loopback) {
            bail!(
                "{} is another machine, and a key is not sent to it without TLS: name an https address, \
                 or forward a port of it to this machine",
                self.addr
            );
        }
        Ok(Some(key))
    }

    fn key_of_up(&self, up_file: &Path) -> anyhow::Result<Option<Key>> {
        let path = (self.up_key_file)(up_file);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        Ok(Some(Key::parse(&text).with_context(|| path.display().to_string())?))
    }

    fn key_in(&self, path: &Path) -> anyhow::Result<Key> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} cannot be read", path.display()))?;
        let wrong = || {
            anyhow!(
                "{} is not a file with a key, as in `key = \"fsk_...\"` and `servers = [\"{}\"]`",
                path.display(),
                self.addr
            )
        };
        // The parser's own words may quote the key.
        let file: KeyFile = toml::from_str(&text).map_err(|_| wrong())?;
        if !file.servers.iter().any(|server| server.trim_end_matches('/') == self.addr) {
            bail!(
                "the key in {} is not for {}: it names {}",
                path.display(),
                self.addr,
                file.servers.join(", ")
            );
        }
        Key::parse(&file.key).map_err(|_| wrong())
    }

    /// The message and the next step for a status that none of our services made: the transport's,
    /// or that of another program.
    pub fn trouble(&self, status: &Status) -> (String, Option<String>) {
        let (addr, code) = (&self.addr, status.code());
        // The transport reports CANCELLED for its own deadline, and also for a broken connection.
        let out_of_time =
            code == Code::Cancelled && status.message() == TimeoutExpired(()).to_string();
        if code == Code::DeadlineExceeded || out_of_time {
            return (
                format!("{addr} did not answer within {} s", CALL_TIMEOUT.as_secs()),
                Some("See whether it had its effect (`flashsale sale show` lists the sales) before you repeat it.".to_owned()),
            );
        }
        let next_step = match &self.source {
            Source::Given => {
                "Check --addr (or FLASHSALE_ADDR), and that flashsale runs there.".to_owned()
            }
            Source::Up(file) => format!(
                "`flashsale up` has written that address into {}; if it no longer runs, start it again (`make up`).",
                file.display()
            ),
            Source::Default => "Start it (`make up`), or name its address with --addr.".to_owned(),
        };
        let message = if code == Code::Unimplemented {
            format!(
                "what answers at {addr} is not this version of flashsale ({})",
                status.message()
            )
        } else {
            format!("no flashsale answers at {addr} ({})", status.message())
        };
        (message, Some(next_step))
    }
}

fn running() -> Option<(String, PathBuf)> {
    let file = up_file().ok()?;
    let value: Value = serde_json::from_str(&std::fs::read_to_string(&file).ok()?).ok()?;
    Some((value.get("grpc")?.as_str()?.to_owned(), file))
}

/// The whole file of a shop's export. Reads no more than `max_bytes` of it, since it may be any file.
///
/// # Errors
/// If it cannot be read, or is larger.
pub fn read_export(path: &Path, max_bytes: u64) -> anyhow::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(max_bytes.saturating_add(1)).read_to_end(&mut content))
        .with_context(|| format!("{} cannot be read", path.display()))?;
    if content.len() as u64 > max_bytes {
        bail!(
            "{} has more than {} MiB, which is the most that one import takes; split it into several sales",
            path.display(),
            max_bytes / (1_024 * 1_024)
        );
    }
    Ok(content)
}

/// A unary request with [`CALL_TIMEOUT`] as its deadline.
pub fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

pub fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An amount for display, for example `49.90 EUR`.
pub fn money(money: Option<&Money>) -> String {
    let Some(money) = money else { return String::new() };
    let decimals =
        Currency::from_code(&money.currency_code).and_then(Currency::exponent).unwrap_or(2);
    let sign = if money.units < 0 || money.nanos < 0 { "-" } else { "" };
    let digits = format!("{:09}", money.nanos.unsigned_abs());
    let fraction = digits.get(..usize::from(decimals)).unwrap_or_default();
    let point = if decimals == 0 { "" } else { "." };
    format!("{sign}{}{point}{fraction} {}", money.units.unsigned_abs(), money.currency_code)
}

/// An amount as JSON, for display and exactly; null without one.
pub fn money_json(value: Option<&Money>) -> Value {
    value.map_or(Value::Null, |value| {
        json!({ "amount": money(Some(value)), "currency": value.currency_code, "units": value.units, "nanos": value.nanos })
    })
}

/// A time as RFC 3339.
pub fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.map(ToString::to_string).unwrap_or_default()
}

/// The short name of an enum's value: `ORDER_STATE_CONFIRMED` is `CONFIRMED`.
pub fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

pub fn sale_state(sale: &sale::Sale) -> String {
    short(sale.state().as_str_name(), "SALE_STATE_")
}

pub fn order_state(order: &checkout::Order) -> String {
    short(order.state().as_str_name(), "ORDER_STATE_")
}

/// Whether an order's state is final.
pub fn is_over(order: &checkout::Order) -> bool {
    use checkout::OrderState;
    match order.state() {
        OrderState::Confirmed
        | OrderState::Declined
        | OrderState::Cancelled
        | OrderState::Refunded => true,
        OrderState::Unspecified
        | OrderState::AcceptancePending
        | OrderState::Accepted
        | OrderState::DeadLetter
        | OrderState::Claimed
        | OrderState::Paying
        | OrderState::ActionRequired => false,
    }
}

pub fn sale_json(sale: &sale::Sale) -> Value {
    let settings = sale.settings.clone().unwrap_or_default();
    json!({
        "sale_id": sale.sale_id,
        "name": settings.name,
        "state": sale_state(sale),
        "currency": settings.currency,
        "starts_at": time(settings.starts_at.as_ref()),
        "ends_at": time(settings.ends_at.as_ref()),
        "hold_seconds": settings.hold_ttl.map(|ttl| ttl.seconds),
        "patience_seconds": settings.payment_patience.map(|patience| patience.seconds),
        "admissions_per_second": settings.room.as_ref().map(|room| room.admissions_per_second),
        "pre_queue_seconds": settings
            .room
            .as_ref()
            .and_then(|room| room.pre_queue.as_ref())
            .map(|early| early.seconds),
        "expected_peak_per_second": settings.expected_peak_per_second,
        "version": sale.version,
        "propagated": sale.propagated,
        "cancel_requested": sale.cancel_requested,
        "allow_shared_skus": sale.allow_shared_skus,
        "items": sale.items.iter().map(|item| json!({
            "sku": item.sku,
            "title": item.title,
            "unit_price": money_json(item.unit_price.as_ref()),
            "regular_price": money_json(item.regular_price.as_ref()),
            "quantity": item.quantity,
            "per_buyer_limit": item.per_buyer_limit,
        })).collect::<Vec<_>>(),
        "price_revisions": sale.price_revisions.iter().map(|revision| json!({
            "revision": revision.revision,
            "effective_at": time(revision.effective_at.as_ref()),
            "switch_time": revision.switch_time.as_ref().map(|at| time(Some(at))),
            "replaced_by": Some(revision.replaced_by).filter(|by| *by > 0),
            "skus": revision.skus,
        })).collect::<Vec<_>>(),
    })
}

pub fn report_json(report: &sale::SaleReport) -> Value {
    let orders = report.orders.unwrap_or_default();
    json!({
        "sale_id": report.sale_id,
        "state": short(report.state().as_str_name(), "SALE_STATE_"),
        "final": report.r#final,
        "read_time": time(report.read_time.as_ref()),
        "orders": {
            "open": orders.open, "dead_letters": orders.dead_letters, "confirmed": orders.confirmed,
            "declined": orders.declined, "cancelled": orders.cancelled, "refunded": orders.refunded,
        },
        "captured": money_json(report.captured.as_ref()),
        "refunded": money_json(report.refunded.as_ref()),
        "refund_due": money_json(report.refund_due.as_ref()),
        "units_held": report.units_held,
        "units_placed": report.units_placed,
        "payments_open": report.payments_open,
        "consequences_due": report.consequences_due,
        "items": report.items.iter().map(|item| json!({
            "sku": item.sku, "title": item.title, "allotted": item.allotted, "sold": item.sold,
            "open": item.open, "gross": money_json(item.gross.as_ref()),
        })).collect::<Vec<_>>(),
    })
}

pub fn order_json(order: &checkout::Order) -> Value {
    json!({
        "order_id": order.order_id,
        "sale_id": order.sale_id,
        "buyer_id": order.buyer_id,
        "state": order_state(order),
        "lines": order.lines.iter().map(|line| json!({
            "sku": line.sku, "quantity": line.quantity, "unit_price": money_json(line.unit_price.as_ref()),
        })).collect::<Vec<_>>(),
        "total": money_json(order.total.as_ref()),
        "refunded": money_json(order.refunded.as_ref()),
        "hold_id": order.hold_id,
        "place_time": time(order.place_time.as_ref()),
        "update_time": time(order.update_time.as_ref()),
        "cancel_requested": order.cancel_requested,
        "end_reason": order.end_reason,
    })
}

pub fn stock_json(stock: &inventory::SkuStock) -> Value {
    json!({
        "sku": stock.sku, "allotted": stock.allotted, "available": stock.available,
        "held": stock.held, "placed": stock.placed, "sold": stock.sold,
        "unit_price": money_json(stock.unit_price.as_ref()),
        "per_buyer_limit": stock.per_buyer_limit,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn money_has_its_currencys_decimals() {
        for (units, nanos, currency, text) in [
            (19, 900_000_000, "EUR", "19.90 EUR"),
            (0, 0, "EUR", "0.00 EUR"),
            (0, -500_000_000, "EUR", "-0.50 EUR"),
            (-3, -50_000_000, "EUR", "-3.05 EUR"),
            (1_200, 0, "JPY", "1200 JPY"),
            (1, 250_000_000, "KWD", "1.250 KWD"),
        ] {
            let amount = Money { currency_code: currency.to_owned(), units, nanos };
            assert_eq!(money(Some(&amount)), text);
        }
    }

    fn at(addr: &str, key_file: Option<PathBuf>) -> Target {
        Target::find(ServerArgs { addr: Some(addr.to_owned()), key_file, ..ServerArgs::default() })
    }

    #[test]
    fn other_addresses_are_refused() {
        assert_eq!(at("127.0.0.1:7", None).addr, "http://127.0.0.1:7");
        for wrong in ["redis://127.0.0.1:7", "foo bar", "http://"] {
            let error = at(wrong, None).connect().unwrap_err();
            assert!(error.to_string().contains("is not an address such as"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_key_goes_only_where_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.toml");
        let key = Key::generate();
        let servers = ["http://127.0.0.1:7", "http://shop.example:7", "https://shop.example:7"];
        let text = format!("key = \"{}\"\nservers = {}\n", key.expose(), json!(servers));
        std::fs::write(&path, text).unwrap();
        let of = |addr: &str| at(addr, Some(path.clone())).key();
        assert_eq!(of(servers[0]).unwrap(), Some(key.clone()));
        assert_eq!(of(servers[2]).unwrap(), Some(key.clone()));
        let error = of(servers[1]).unwrap_err().to_string();
        assert!(error.contains("not sent to it without TLS"), "{error}");
        let error = of("http://127.0.0.1:8").unwrap_err().to_string();
        assert!(error.contains("is not for http://127.0.0.1:8"), "{error}");
        std::fs::write(&path, key.expose()).unwrap();
        let error = of(servers[0]).unwrap_err().to_string();
        assert!(error.contains("is not a file with a key"), "{error}");
        assert!(!error.contains(key.expose()), "{error}");
        assert_eq!(at("http://127.0.0.1:9", None).key().unwrap(), None);
    }
}
