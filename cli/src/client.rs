//! How commands reach the services, and the wire's forms as JSON and text.

use std::time::Duration;

use anyhow::Context as _;
use flashsale_proto::{Money, checkout, inventory, sale};
use flashsale_sandbox::Home;
use iso_currency::Currency;
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};

/// Where services are looked for when nothing says otherwise.
const DEFAULT_ADDR: &str = "http://127.0.0.1:50051";
/// How long a unary call may take.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Where `flashsale up` writes down its address.
pub(crate) fn up_file() -> anyhow::Result<std::path::PathBuf> {
    Ok(Home::locate()?.path().join("up.json"))
}

/// A channel to the services: where `--addr` says, else where `flashsale up` runs, else the default port.
pub(crate) fn connect(addr: Option<String>) -> anyhow::Result<Channel> {
    let addr = addr.or_else(running).unwrap_or_else(|| DEFAULT_ADDR.to_owned());
    let endpoint = Endpoint::from_shared(addr.clone())
        .with_context(|| format!("{addr} is not an address such as {DEFAULT_ADDR}"))?
        .connect_timeout(Duration::from_secs(3));
    Ok(endpoint.connect_lazy())
}

fn running() -> Option<String> {
    let text = std::fs::read_to_string(up_file().ok()?).ok()?;
    let value: Value = serde_json::from_str(&text).ok()?;
    value.get("grpc")?.as_str().map(str::to_owned)
}

/// A unary request with its deadline.
pub(crate) fn request<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// A fresh request id.
pub(crate) fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An amount as people write it, for example `49.90 EUR`.
pub(crate) fn money(money: Option<&Money>) -> String {
    let Some(money) = money else { return String::new() };
    let decimals =
        Currency::from_code(&money.currency_code).and_then(Currency::exponent).unwrap_or(2);
    let nanos = money.nanos.unsigned_abs();
    let digits = format!("{nanos:09}");
    let fraction = digits.get(..usize::from(decimals)).unwrap_or_default();
    let point = if decimals == 0 { "" } else { "." };
    format!("{}{point}{fraction} {}", money.units, money.currency_code)
}

fn money_json(value: Option<&Money>) -> Value {
    value.map_or(Value::Null, |value| {
        json!({ "amount": money(Some(value)), "currency": value.currency_code, "units": value.units, "nanos": value.nanos })
    })
}

/// A time as RFC 3339.
pub(crate) fn time(time: Option<&prost_types::Timestamp>) -> String {
    time.map(ToString::to_string).unwrap_or_default()
}

/// The short name of an enum's value: `ORDER_STATE_CONFIRMED` is `CONFIRMED`.
pub(crate) fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// A sale's state by name.
pub(crate) fn sale_state(sale: &sale::Sale) -> String {
    short(sale.state().as_str_name(), "SALE_STATE_")
}

/// An order's state by name.
pub(crate) fn order_state(order: &checkout::Order) -> String {
    short(order.state().as_str_name(), "ORDER_STATE_")
}

/// A sale as JSON.
pub(crate) fn sale_json(sale: &sale::Sale) -> Value {
    let settings = sale.settings.clone().unwrap_or_default();
    json!({
        "sale_id": sale.sale_id,
        "name": settings.name,
        "state": sale_state(sale),
        "currency": settings.currency,
        "starts_at": time(settings.starts_at.as_ref()),
        "ends_at": time(settings.ends_at.as_ref()),
        "hold_seconds": settings.hold_ttl.map(|ttl| ttl.seconds),
        "admissions_per_second": settings.room.map(|room| room.admissions_per_second),
        "version": sale.version,
        "propagated": sale.propagated,
        "items": sale.items.iter().map(|item| json!({
            "sku": item.sku,
            "title": item.title,
            "unit_price": money_json(item.unit_price.as_ref()),
            "quantity": item.quantity,
            "per_buyer_limit": item.per_buyer_limit,
        })).collect::<Vec<_>>(),
    })
}

/// An order as JSON.
pub(crate) fn order_json(order: &checkout::Order) -> Value {
    json!({
        "order_id": order.order_id,
        "sale_id": order.sale_id,
        "buyer_id": order.buyer_id,
        "state": order_state(order),
        "lines": order.lines.iter().map(|line| json!({
            "sku": line.sku, "quantity": line.quantity, "unit_price": money_json(line.unit_price.as_ref()),
        })).collect::<Vec<_>>(),
        "total": money_json(order.total.as_ref()),
        "hold_id": order.hold_id,
        "place_time": time(order.place_time.as_ref()),
        "update_time": time(order.update_time.as_ref()),
        "cancel_requested": order.cancel_requested,
        "end_reason": order.end_reason,
    })
}

/// A sku's books as JSON.
pub(crate) fn stock_json(stock: &inventory::SkuStock) -> Value {
    json!({
        "sku": stock.sku, "allotted": stock.allotted, "available": stock.available,
        "held": stock.held, "placed": stock.placed, "sold": stock.sold,
    })
}
