//! Sums over everything in Redis, independent of the code that wrote it.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use crate::world::World;

/// Asserts that the books, the holds, the buyers' units and the indexes of a sale agree.
pub(crate) async fn assert_books_balance<R>(world: &World<R>, sale: Uuid) {
    let stock: BTreeMap<String, i64> = world
        .hash(sale, 1)
        .await
        .into_iter()
        .map(|(field, value)| (field, value.parse().unwrap()))
        .collect();
    let mut columns: BTreeMap<String, i64> = BTreeMap::new();
    let mut buyers: BTreeMap<String, i64> = BTreeMap::new();
    let (mut held, mut placed) = (0, 0);
    for json in world.hash(sale, 2).await.values() {
        let hold: Value = serde_json::from_str(json).unwrap();
        let column = match hold["s"].as_str().unwrap() {
            "HELD" => "h",
            "PLACED" => "p",
            "SOLD" => "s",
            "RELEASED" | "EXPIRED" => continue,
            state => panic!("{state}"),
        };
        held += i64::from(column == "h");
        placed += i64::from(column == "p");
        for line in hold["l"].as_array().unwrap() {
            let (sku, units) = (line[0].as_str().unwrap(), line[1].as_i64().unwrap());
            *columns.entry(format!("{column}:{sku}")).or_default() += units;
            *buyers.entry(format!("{sku}\u{1f}{}", hold["b"].as_str().unwrap())).or_default() +=
                units;
        }
    }
    for (field, allotted) in stock.iter().filter(|(field, _)| field.starts_with("t:")) {
        let sku = &field[2..];
        let column = |letter: &str| stock[&format!("{letter}:{sku}")];
        assert!(column("a") >= 0, "{sku} is oversold");
        assert_eq!(*allotted, column("a") + column("h") + column("p") + column("s"), "{sku}");
        for letter in ["h", "p", "s"] {
            let of_holds = columns.get(&format!("{letter}:{sku}")).copied().unwrap_or(0);
            assert_eq!(column(letter), of_holds, "{letter}:{sku}");
        }
    }
    let recorded: BTreeMap<String, i64> = world
        .hash(sale, 7)
        .await
        .into_iter()
        .map(|(buyer, units)| (buyer, units.parse().unwrap()))
        .filter(|(_, units)| *units != 0)
        .collect();
    assert_eq!(recorded, buyers);
    assert_eq!(world.zset(sale, 3).await.len() as i64, held);
    let pending = world.zset(sale, 4).await.len();
    assert!(pending as i64 <= placed);
    assert_eq!(pending, world.hash(sale, 5).await.len());
}
