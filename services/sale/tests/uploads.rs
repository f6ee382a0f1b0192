//! Imports whose file comes in parts, and where what they sell stood in the file.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{
    ImportOptions, ImportSaleRequest, ImportSaleStreamRequest, ImportSaleStreamResponse,
    import_sale_stream_request::Part,
};
use flashsale_testbed::{assert_failure, eventually};
use futures::{Stream, StreamExt as _, stream};
use tonic::Status;
use uuid::Uuid;
use world::{Client, World, creation, id, import};

const MIB: usize = 1_024 * 1_024;
const HEADER: &str = "Handle,Title,Body (HTML),Variant SKU,Variant Inventory Tracker,\
                      Variant Inventory Qty,Variant Price\n";

/// An export with so many products, and so many bytes of description in each.
fn export(products: usize, description: usize) -> String {
    let description = "x".repeat(description);
    let rows: Vec<String> = (0..products)
        .map(|row| format!("p{row},Product {row},\"{description}\",S{row},shopify,5,19.90\n"))
        .collect();
    HEADER.to_owned() + &rows.concat()
}

fn message(part: Part) -> ImportSaleStreamRequest {
    ImportSaleStreamRequest { part: Some(part) }
}

fn content(part: impl Into<Vec<u8>>) -> ImportSaleStreamRequest {
    message(Part::Content(part.into()))
}

/// What a client sends of an import, its files in parts of `size` bytes.
fn messages(mut asked: ImportSaleRequest, size: usize) -> Vec<ImportSaleStreamRequest> {
    let file = std::mem::take(&mut asked.content);
    let stock = asked.options.as_mut().map(|options| std::mem::take(&mut options.stock));
    let stock = stock.unwrap_or_default();
    let first = std::iter::once(Part::Import(asked));
    let stock = stock.chunks(size).map(|part| Part::Stock(part.to_vec()));
    let file = file.chunks(size).map(|part| Part::Content(part.to_vec()));
    first.chain(stock).chain(file).map(message).collect()
}

async fn send(
    client: &Client,
    messages: impl Stream<Item = ImportSaleStreamRequest> + Send + 'static,
) -> Result<ImportSaleStreamResponse, Status> {
    let mut client = client.clone();
    let answer = client.import_sale_stream(messages);
    let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
    Ok(answer.expect("there is an answer")?.into_inner())
}

async fn send_all(
    client: &Client,
    messages: Vec<ImportSaleStreamRequest>,
) -> Result<ImportSaleStreamResponse, Status> {
    send(client, stream::iter(messages)).await
}

#[tokio::test]
async fn a_large_export_becomes_a_sale() {
    let world = World::new().await;
    let asked = import(export(1_200, 5_000));
    assert!(asked.content.len() > 5 * MIB, "it is more than a single message takes");
    let answer = send_all(&world.client, messages(asked.clone(), 300_000)).await.unwrap();
    let sale = answer.sale.unwrap();
    assert_eq!(sale.items.len(), 1_200);
    assert_eq!(answer.preview.unwrap().totals.unwrap().units, Some(6_000));
    assert_eq!(world.get(&sale.sale_id).await, sale);

    // Cut in another way it is the same file.
    let again = send_all(&world.client, messages(asked.clone(), MIB)).await.unwrap();
    assert_eq!((again.sale, again.preview), (Some(sale), None));
    assert_eq!(world.count().await, 1);
    let mut other = asked;
    other.content.push(b'\n');
    let status = send_all(&world.client, messages(other, MIB)).await.unwrap_err();
    assert_failure(&status, Reason::RequestIdReused);
    assert_eq!(world.count().await, 1);
}

#[tokio::test]
async fn a_preview_of_parts_stores_nothing() {
    let world = World::new().await;
    let before = world.tables().await;
    let asked = ImportSaleRequest {
        request_id: String::new(),
        settings: None,
        validate_only: true,
        ..import(export(3, 10))
    };
    let answer = send_all(&world.client, messages(asked, 100)).await.unwrap();
    assert_eq!(answer.sale, None);
    assert_eq!(answer.preview.unwrap().rows.len(), 3);
    assert_eq!(world.tables().await, before);
}

#[tokio::test]
async fn a_file_may_be_cut_anywhere() {
    let world = World::new().await;
    let file = "\u{feff}Handle,Title,Variant SKU,Option1 Value,Variant Price\r\n\
                tee,\"Größe \u{1f600}\",TEE-M,M,38.00\r\ntee,,TEE-L,L,38.00\r\n";
    let stock = "Handle,Option1 Value,Location,Available\r\ntee,M,Größe,3\r\ntee,L,Größe,4\r\n";
    let options = ImportOptions { stock: stock.into(), ..ImportOptions::default() };
    let whole = ImportSaleRequest { options: Some(options), ..import(file) };
    let expected = world.client.clone().import_sale(whole.clone()).await.unwrap().into_inner();
    let expected = expected.sale.unwrap().items;
    assert_eq!(expected.iter().map(|item| item.quantity).sum::<i64>(), 7);
    for size in [1, 2, 3, 5, 64] {
        let asked = ImportSaleRequest { request_id: id(), ..whole.clone() };
        let answer = send_all(&world.client, messages(asked, size)).await.unwrap();
        assert_eq!(answer.sale.unwrap().items, expected, "parts of {size} bytes");
    }
    // Empty parts say nothing.
    let mut asked = messages(ImportSaleRequest { request_id: id(), ..whole }, 50);
    asked.insert(2, message(Part::Stock(Vec::new())));
    asked.push(content(""));
    assert_eq!(send_all(&world.client, asked).await.unwrap().sale.unwrap().items, expected);
}

/// What a refused upload is refused for: the reason, the first field, and its text.
fn refusal(status: &Status) -> (Reason, String, String) {
    let failure = Failure::from_status(status).unwrap_or_else(|| panic!("{status:?}"));
    let violation = failure.violations().first();
    let field = violation.map(|violation| violation.field.clone()).unwrap_or_default();
    let what = violation.map(|violation| violation.description.clone()).unwrap_or_default();
    (failure.reason(), field, what)
}

#[tokio::test]
async fn bad_uploads_are_refused_by_their_field() {
    use Reason::{ArgumentInvalid as Argument, ExportInvalid as Export};

    let world = World::new().await;
    let good = export(2, 10);
    let first = || message(Part::Import(import("")));
    let recognised = || message(Part::Import(ImportSaleRequest { format: 0, ..import("") }));
    let stock = |part: &[u8]| message(Part::Stock(part.to_vec()));
    let with_stock = ImportSaleRequest {
        options: Some(ImportOptions { stock: b"a".to_vec(), ..ImportOptions::default() }),
        ..import("")
    };
    let unnamed = ImportSaleRequest { request_id: String::new(), ..import("") };
    let rows = format!("sku,price\n{}", "a,1\n".repeat(100_001));
    let any = ImportSaleRequest { format: 0, ..import(rows) };
    let nothing = || ImportSaleStreamRequest { part: None };
    let cases: Vec<(&str, Vec<ImportSaleStreamRequest>, Reason, &str)> = vec![
        ("nothing", vec![], Argument, "import"),
        ("an empty message", vec![nothing()], Argument, "content"),
        ("content without an import", vec![content(good.as_str())], Argument, "import"),
        ("content before the import", vec![content(good.as_str()), first()], Argument, "import"),
        ("an import with its file", messages_of(import(good.as_str())), Argument, "import.content"),
        ("an import with its stock", messages_of(with_stock), Argument, "import.options.stock"),
        ("no request id", messages_of(unnamed), Reason::RequestIdInvalid, "request_id"),
        ("two imports", vec![first(), content(HEADER), first()], Argument, "import"),
        ("an import behind stock", vec![first(), stock(b"a"), first()], Argument, "import"),
        ("stock behind content", vec![first(), content(HEADER), stock(b"a")], Argument, "stock"),
        ("an empty part", vec![first(), nothing()], Argument, "content"),
        ("a large part", vec![first(), content(vec![b'a'; MIB + 1])], Argument, "content"),
        ("a large part of stock", vec![first(), stock(&vec![b'a'; MIB + 1])], Argument, "stock"),
        ("a message of 5 MiB", vec![first(), content(vec![b'a'; 5 * MIB])], Argument, ""),
        ("no file", vec![first()], Export, "content"),
        ("100,001 rows", messages(any, 100_000), Export, "content"),
        ("an unknown header", vec![recognised(), content("a\n")], Export, "row 1"),
    ];
    let before = world.tables().await;
    for (name, messages, reason, field) in cases {
        let status = send_all(&world.client, messages).await.expect_err(name);
        let (found, of, what) = refusal(&status);
        assert_eq!((found, of.as_str()), (reason, field), "{name}: {what}");
        assert_eq!(world.tables().await, before, "{name}");
    }
    // None of them keeps its place.
    send_all(&world.client, messages(import(good), 50)).await.unwrap();
}

/// An import as the only message, with whatever is in it.
fn messages_of(asked: ImportSaleRequest) -> Vec<ImportSaleStreamRequest> {
    vec![message(Part::Import(asked))]
}

/// An upload without end: the import, `start`, and `part` over and over, and how often that was
/// sent.
fn endless(
    start: ImportSaleStreamRequest,
    part: ImportSaleStreamRequest,
) -> (impl Stream<Item = ImportSaleStreamRequest> + Send + 'static, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let first = message(Part::Import(ImportSaleRequest { format: 0, ..import("") }));
    let rest = stream::repeat(part).inspect(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    (stream::iter([first, start]).chain(rest), sent)
}

#[tokio::test]
async fn nothing_more_is_read_once_an_upload_is_refused() {
    let world = World::new().await;
    let (_server, bounded) = world.instance_with(&[("IMPORT__MAX_BYTES", "200000")]).await;
    let before = world.tables().await;
    let row = format!("p,P,\"{}\",S,shopify,5,19.90\n", "x".repeat(10_000));
    let stock = "h,l,1\n".repeat(1_000);
    let default = &world.client;
    for (client, start, part, reason, field, figures) in [
        (
            &bounded,
            content(HEADER),
            content(row.as_str()),
            Reason::ArgumentInvalid,
            "content",
            &["200", "200000 are"][..],
        ),
        (
            &bounded,
            message(Part::Stock(b"Handle,Location,Available\n".to_vec())),
            message(Part::Stock(stock.into())),
            Reason::ArgumentInvalid,
            "stock",
            &["50000 are"],
        ),
        (
            default,
            content("sku,price\n"),
            content("a,1\n".repeat(2_500)),
            Reason::ExportInvalid,
            "content",
            &["100,000 rows"],
        ),
        (
            default,
            content("a\n".repeat(5_000)),
            content("a\n".repeat(5_000)),
            Reason::ExportInvalid,
            "row 1",
            &["no known format"],
        ),
    ] {
        let (messages, sent) = endless(start, part);
        let status = send(client, messages).await.unwrap_err();
        let (found, of, what) = refusal(&status);
        assert_eq!((found, of.as_str()), (reason, field), "{what}");
        assert!(figures.iter().all(|figure| what.contains(figure)), "{what}");
        // What was on its way when it was refused, besides what was read.
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent < 1_000, "{sent} parts were sent");
        assert_eq!(world.tables().await, before);
    }
}

#[tokio::test]
async fn a_silent_client_is_cut() {
    let world = World::new().await;
    let (_server, client) = world.instance_with(&[("IMPORT__PART_MS", "150")]).await;
    let before = world.tables().await;
    let asked = messages(import(export(2, 10)), 50);
    // More often than there are places: each is free again.
    for sent in [0, 1, 2, 3, asked.len()] {
        let begun = asked[..sent].to_vec();
        let status = send(&client, stream::iter(begun).chain(stream::pending())).await;
        let failure = assert_failure(&status.unwrap_err(), Reason::DeadlineExceeded);
        assert_eq!(failure.metadata()["timeout_ms"], "150", "{sent} messages");
    }
    assert_eq!(world.tables().await, before);
    send_all(&client, asked).await.unwrap();
}

#[tokio::test]
async fn an_upload_that_breaks_off_stores_nothing() {
    let world = World::new().await;
    let before = world.tables().await;
    let asked = messages(import(export(5, 10)), 100);
    let client = world.client.clone();
    let begun = stream::iter(asked).chain(stream::pending());
    let gone = tokio::spawn(async move { send(&client, begun).await });
    let preview =
        ImportSaleRequest { validate_only: true, settings: None, ..import(export(1, 10)) };
    // What was sent of it is a good file.
    send_all(&world.client, messages(preview.clone(), 10)).await.unwrap();
    gone.abort();
    for _ in 0..4 {
        send_all(&world.client, messages(preview.clone(), 10)).await.unwrap();
    }
    assert_eq!(world.tables().await, before);
}

#[tokio::test]
async fn as_many_are_sent_at_once_as_are_read() {
    let world = World::new().await;
    let uploads: Vec<_> = (0..2)
        .map(|_| {
            let client = world.client.clone();
            let begun = stream::iter(messages(import(export(1, 10)), 100)).chain(stream::pending());
            tokio::spawn(async move { send(&client, begun).await })
        })
        .collect();
    let preview =
        ImportSaleRequest { validate_only: true, settings: None, ..import(export(1, 10)) };
    let status = eventually("there is no place left", || async {
        send_all(&world.client, messages(preview.clone(), 100)).await.err()
    })
    .await;
    let failure = assert_failure(&status, Reason::Overloaded);
    assert_eq!(failure.metadata()["max_uploads"], "2");
    assert!(failure.delay().is_some_and(|delay| delay >= Duration::from_secs(5)), "{failure:?}");
    // Whole files are read meanwhile.
    world.client.clone().import_sale(import(export(1, 10))).await.unwrap();

    uploads.into_iter().for_each(|upload| upload.abort());
    eventually("there is a place again", || async {
        send_all(&world.client, messages(preview.clone(), 100)).await.ok()
    })
    .await;
}

/// Where an item stood: the format, the line, the stock, and whether its key is this one.
async fn source(
    world: &World,
    sale: &str,
    sku: &str,
    key: &str,
) -> Option<(String, i64, Option<i64>, bool)> {
    sqlx::query_as(
        "SELECT format, line, stock, source_key = $3::jsonb FROM sale_sources
         WHERE sale_id = $1 AND sku = $2",
    )
    .bind(sale.parse::<Uuid>().unwrap())
    .bind(sku)
    .bind(key)
    .fetch_optional(&world.pg.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn an_import_knows_where_its_items_stood() {
    let world = World::new().await;
    let shopify = "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Tracker,\
                   Variant Inventory Qty,Variant Price\n\
                   tee,,,M,'0112,shopify,30,38.00\ntee,\" Tee \",Size,L,,,,38.00\n";
    let woo: &[u8] = include_bytes!("../../../libs/catalogue/tests/fixtures/woocommerce.csv");
    let bigcommerce: &[u8] =
        include_bytes!("../../../libs/catalogue/tests/fixtures/bigcommerce-legacy.csv");
    let json = "[{\"sku\": \"CUP\", \"price\": \"9.90\", \"quantity\": 7}]";
    for (file, sku, expected, key) in [
        (
            shopify.as_bytes(),
            "0112",
            ("shopify", 2, Some(30)),
            r#"{"Handle": "tee", "Title": " Tee ", "Option1 Name": "Size", "Option1 Value": "M", "Variant SKU": "'0112"}"#,
        ),
        (
            shopify.as_bytes(),
            "tee/L",
            ("shopify", 3, None),
            r#"{"Handle": "tee", "Title": " Tee ", "Option1 Name": "Size", "Option1 Value": "L", "Variant SKU": ""}"#,
        ),
        (
            woo,
            "BUOY/Red",
            ("woocommerce", 4, Some(3)),
            r#"{"ID": "22", "Type": "variation", "SKU": "", "Name": "Buoy jacket", "Parent": "id:20"}"#,
        ),
        (
            bigcommerce,
            "MAST-MB",
            ("bigcommerce", 3, Some(5)),
            r#"{"Item Type": "  SKU", "Product ID": "71", "Product Name": "[RT]Size=M,[CS]Colour=Blue:#0000ff", "Product Code/SKU": "MAST-MB"}"#,
        ),
        (b"sku,price,quantity\nA,5,3\n", "A", ("csv", 2, Some(3)), r#"{"sku": "A"}"#),
        (json.as_bytes(), "CUP", ("json", 1, Some(7)), r#"{"sku": "CUP"}"#),
    ] {
        let options = ImportOptions { leave_out_faulty: true, ..ImportOptions::default() };
        let quantity = Some(3);
        let format = 0;
        let asked = ImportSaleRequest { format, quantity, options: Some(options), ..import(file) };
        let whole = world.client.clone().import_sale(asked.clone()).await.unwrap().into_inner();
        let asked = ImportSaleRequest { request_id: id(), ..asked };
        let parts = send_all(&world.client, messages(asked, 64)).await.unwrap();
        for sale in [whole.sale, parts.sale] {
            let sale = sale.unwrap();
            let found = source(&world, &sale.sale_id, sku, key).await;
            let (format, line, stock, same) = found.unwrap_or_else(|| panic!("{sku} has none"));
            assert_eq!((format.as_str(), line, stock), expected, "{sku}");
            assert!(same, "{sku} has another key than {key}");
            let rows: i64 =
                sqlx::query_scalar("SELECT count(*) FROM sale_sources WHERE sale_id = $1")
                    .bind(sale.sale_id.parse::<Uuid>().unwrap())
                    .fetch_one(&world.pg.pool)
                    .await
                    .unwrap();
            assert_eq!(usize::try_from(rows).unwrap(), sale.items.len());
        }
    }
    let created = world.draft(creation()).await;
    assert_eq!(source(&world, &created.sale_id, "TEE-M", "{}").await, None);
}
