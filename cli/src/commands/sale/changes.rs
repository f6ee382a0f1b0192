//! `flashsale sale changes`.

use flashsale_cli::{
    client::{request, sale_json, time},
    output::{Output, table},
};
use flashsale_proto::sale::{ListSaleChangesRequest, Sale, SaleChange};
use serde_json::{Value, json};

use super::Sales;

/// Changes per page of the list.
const PAGE: i32 = 200;
/// Skus that a cell of the table names.
const SHOWN_SKUS: usize = 5;
/// What of a sale is not compared: it is always the same, changes with each version, or is not in
/// the list.
const NOT_COMPARED: [&str; 5] = ["sale_id", "version", "propagated", "items", "price_revisions"];

pub(super) async fn run(sale_id: String, mut sales: Sales, output: &Output) -> anyhow::Result<()> {
    let mut changes = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked =
            ListSaleChangesRequest { sale_id: sale_id.clone(), page_size: PAGE, page_token };
        let page = sales.list_sale_changes(request(asked)).await?.into_inner();
        changes.extend(page.changes);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let list: Vec<Value> = changes.iter().map(change_json).collect();
    output.print(&json!({ "changes": list }), || {
        table(
            &["version", "at", "what", "by", "changed", "reason", "request"],
            &[0],
            changes.iter().map(|change| {
                vec![
                    change.version.to_string(),
                    time(change.change_time.as_ref()),
                    change.kind.clone(),
                    if change.actor.is_empty() {
                        "the clock".to_owned()
                    } else {
                        change.actor.clone()
                    },
                    changed_text(change),
                    change.reason.clone(),
                    change.request_id.clone(),
                ]
            }),
        )
    })
}

/// A field that a change touched, with its values before and after it.
type Field = (String, Value, Value);

/// What a change did to the sale's own fields, as `flashsale sale show --json` names them; nothing
/// of its creation.
fn fields(change: &SaleChange) -> Vec<Field> {
    let (Some(before), Some(after)) = (&change.before, &change.after) else { return Vec::new() };
    let json = |sale: &Sale| sale_json(sale).as_object().cloned().unwrap_or_default();
    let mut before = json(before);
    let mut fields: Vec<Field> = json(after)
        .into_iter()
        .filter(|(name, _)| !NOT_COMPARED.contains(&name.as_str()))
        .map(|(name, after)| {
            let before = before.remove(&name).unwrap_or_default();
            (name, before, after)
        })
        .filter(|(_, before, after)| before != after)
        .collect();
    fields.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    fields
}

fn changed_text(change: &SaleChange) -> String {
    let shown = |value: &Value| match value.as_str() {
        Some("") => "none".to_owned(),
        Some(text) => text.to_owned(),
        None if value.is_null() => "none".to_owned(),
        None => value.to_string(),
    };
    let mut lines: Vec<String> = fields(change)
        .iter()
        .map(|(name, before, after)| format!("{name}: {} → {}", shown(before), shown(after)))
        .collect();
    if change.skus_changed > 0 {
        let named: Vec<&str> = change.skus.iter().map(String::as_str).take(SHOWN_SKUS).collect();
        let more = change.skus_changed - i64::try_from(named.len()).unwrap_or(i64::MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        lines.push(format!("items: {}{more}", named.join(", ")));
    }
    lines.join("\n")
}

fn change_json(change: &SaleChange) -> Value {
    json!({
        "version": change.version,
        "change_time": time(change.change_time.as_ref()),
        "kind": change.kind,
        "actor": change.actor,
        "request_id": change.request_id,
        "reason": change.reason,
        "changed": fields(change).into_iter().map(|(name, before, after)| {
            json!({ "field": name, "before": before, "after": after })
        }).collect::<Vec<_>>(),
        "skus": change.skus,
        "skus_changed": change.skus_changed,
    })
}

#[cfg(test)]
mod tests {
    use flashsale_proto::sale::{SaleSettings, SaleState};
    use prost_types::Timestamp;

    use super::*;

    fn sale(state: SaleState, version: i64, ends_at: Option<i64>) -> Sale {
        let ends_at = ends_at.map(|seconds| Timestamp { seconds, nanos: 0 });
        let settings = SaleSettings { ends_at, ..SaleSettings::default() };
        Sale { state: state.into(), version, settings: Some(settings), ..Sale::default() }
    }

    #[test]
    fn a_change_is_told_by_its_fields() {
        let change = SaleChange {
            version: 3,
            before: Some(sale(SaleState::Draft, 2, None)),
            after: Some(sale(SaleState::Scheduled, 3, Some(1_795_777_200))),
            ..SaleChange::default()
        };
        assert_eq!(
            changed_text(&change),
            "ends_at: none → 2026-11-27T11:00:00Z\nstate: DRAFT → SCHEDULED"
        );
        let changed = &change_json(&change)["changed"];
        assert_eq!(
            changed[1],
            json!({ "field": "state", "before": "DRAFT", "after": "SCHEDULED" })
        );
    }

    #[test]
    fn a_creation_lists_no_fields() {
        let after = Some(sale(SaleState::Draft, 1, None));
        assert_eq!(changed_text(&SaleChange { after, ..SaleChange::default() }), "");
    }

    #[test]
    fn a_few_of_many_skus_are_named() {
        let skus = ["A", "B", "C", "D", "E", "F"].map(str::to_owned).to_vec();
        let change = SaleChange { skus, skus_changed: 5_000, ..SaleChange::default() };
        assert_eq!(changed_text(&change), "items: A, B, C, D, E and 4995 more");
    }
}
