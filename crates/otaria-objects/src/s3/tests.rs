use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::TryStreamExt;
use otaria_ports::objects::contract;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::upload::PART_BYTES;
use super::*;

/// A bucket of its own for each test, in the store that the test command started.
struct Bucket {
    endpoint: String,
    name: &'static str,
}

fn environment(endpoint: &str) -> Vec<(String, String)> {
    let pairs = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

impl Bucket {
    async fn new(name: &'static str) -> Self {
        let endpoint = std::env::var("OTARIA_TEST_S3").expect("OTARIA_TEST_S3 is set by cargo xtask test");
        let bucket = Self { endpoint, name };
        // So that the client below finds a library of cryptography.
        drop(bucket.objects(""));
        let made = reqwest::Client::new().put(bucket.url("")).send().await.unwrap();
        assert!(made.status().is_success(), "{made:?}");
        bucket
    }

    fn url(&self, rest: &str) -> String {
        format!("{}/{}{rest}", self.endpoint, self.name)
    }

    fn objects(&self, prefix: &str) -> S3Objects {
        S3Objects::new(&format!("s3://{}{prefix}", self.name), environment(&self.endpoint)).unwrap()
    }

    /// What the store itself says, in XML.
    async fn says(&self, query: &str) -> String {
        reqwest::get(self.url(query)).await.unwrap().text().await.unwrap()
    }
}

fn numbers(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8).collect()
}

async fn put(objects: &S3Objects, key: &str, bytes: &[u8], chunk: usize) {
    let mut upload = objects.begin(key).await.unwrap();
    for part in bytes.chunks(chunk) {
        upload.write(Bytes::copy_from_slice(part)).await.unwrap();
    }
    upload.finish().await.unwrap();
}

async fn got(objects: &S3Objects, key: &str, range: Range<u64>) -> Vec<u8> {
    let pieces: Vec<Bytes> = objects.read(key, range).await.unwrap().try_collect().await.unwrap();
    assert!(pieces.iter().all(|piece| (1..=PIECE_BYTES).contains(&(piece.len() as u64))));
    pieces.concat()
}

#[tokio::test]
#[ignore = "needs an S3-compatible server: cargo xtask test runs it"]
async fn whoever_knows_a_link_reads_that_object_from_the_store_for_so_long() {
    let bucket = Bucket::new("links").await;
    let objects = bucket.objects("/otaria/one");
    let bytes = numbers(300_000);
    put(&objects, "packages/a", &bytes, 300_000).await;
    assert_eq!(
        objects.link("packages/a", Duration::from_secs(900)).await.unwrap(),
        None,
        "none unless wanted"
    );

    let objects = objects.with_links(true);
    let link = objects.link("packages/a", Duration::from_secs(900)).await.unwrap().unwrap();
    let (address, query) = link.split_once('?').unwrap();
    assert_eq!(address, bucket.url("/otaria/one/packages/a"));
    let said: Vec<&str> = query.split('&').collect();
    assert!(said.contains(&"X-Amz-Expires=900"), "{link}");
    assert!(said.iter().any(|pair| pair.starts_with("X-Amz-Signature=")), "{link}");
    // This server looks neither at the signature nor at the time.
    let answer = reqwest::get(&link).await.unwrap();
    assert_eq!(answer.bytes().await.unwrap(), bytes);
    // A key that is none leads nowhere.
    assert_eq!(objects.link("../a", Duration::from_secs(900)).await.unwrap(), None);
}

#[tokio::test]
#[ignore = "needs an S3-compatible server: cargo xtask test runs it"]
async fn a_bucket_keeps_the_contract() {
    let bucket = Bucket::new("contract").await;
    for prefix in ["", "/otaria/one"] {
        let objects = bucket.objects(prefix);
        contract::a_finished_upload_reads_back(&objects).await;
        contract::a_dropped_upload_leaves_nothing(&objects).await;
        contract::an_empty_object_exists(&objects).await;
        objects.check().await.unwrap();
    }
    let listed = bucket.says("?list-type=2").await;
    for key in ["<Key>contract/c.bin</Key>", "<Key>otaria/one/contract/c.bin</Key>"] {
        assert!(listed.contains(key), "{listed}");
    }
}

#[tokio::test]
#[ignore = "needs an S3-compatible server: cargo xtask test runs it"]
async fn an_object_of_several_parts_reads_back_in_pieces() {
    let bucket = Bucket::new("parts").await;
    let objects = bucket.objects("/p");
    // Shorter than a part, exactly two, and two and a bit, in chunks that straddle the parts.
    for (size, chunk) in
        [(PART_BYTES - 1, 1 << 20), (2 * PART_BYTES, PART_BYTES), (2 * PART_BYTES + 3, 3_000_000)]
    {
        let bytes = numbers(size);
        put(&objects, "package/large.bin", &bytes, chunk).await;
        assert_eq!(objects.size("package/large.bin").await.unwrap(), size as u64);
        let end = size as u64;
        for range in
            [0..end, 0..1, end - 1..end, PIECE_BYTES - 1..PIECE_BYTES + 1, 7_000_000..8_000_000, 5..5]
        {
            let wanted = range.start as usize..range.end as usize;
            assert!(
                got(&objects, "package/large.bin", range.clone()).await == bytes[wanted],
                "{size} {range:?}"
            );
        }
    }
}

#[tokio::test]
#[ignore = "needs an S3-compatible server: cargo xtask test runs it"]
async fn a_dropped_upload_leaves_no_parts_behind() {
    let bucket = Bucket::new("dropped").await;
    let objects = bucket.objects("");
    let mut upload = objects.begin("half.bin").await.unwrap();
    upload.write(Bytes::from(numbers(PART_BYTES + 1))).await.unwrap();
    assert!(bucket.says("?uploads").await.contains("<Key>half.bin</Key>"));
    drop(upload);
    for _ in 0..500 {
        if !bucket.says("?uploads").await.contains("<Key>half.bin</Key>") {
            assert!(matches!(objects.size("half.bin").await, Err(ObjectError::NotFound)));
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("its parts are still there after five seconds");
}

#[tokio::test]
#[ignore = "needs an S3-compatible server: cargo xtask test runs it"]
async fn a_read_does_not_mix_two_versions_of_an_object() {
    let bucket = Bucket::new("versions").await;
    let objects = bucket.objects("");
    put(&objects, "a", &[1; 300_000], 300_000).await;
    let mut pieces = objects.read("a", 0..300_000).await.unwrap();
    assert!(pieces.try_next().await.unwrap().is_some());
    put(&objects, "a", &[2; 300_000], 300_000).await;
    let rest: Result<Vec<Bytes>, ObjectError> = pieces.try_collect().await;
    assert!(matches!(rest, Err(ObjectError::Unavailable { .. })), "{rest:?}");
}

#[tokio::test]
#[ignore = "needs an S3-compatible server: cargo xtask test runs it"]
async fn what_is_not_there_is_not_found_and_no_key_leads_out_of_the_prefix() {
    let bucket = Bucket::new("prefix").await;
    let outside = bucket.objects("");
    put(&outside, "secret", b"s", 1).await;
    put(&outside, "p/short", b"short", 5).await;
    let objects = bucket.objects("/p");
    for key in ["secret", "../secret", "/secret", "%2e%2e/secret", "a//b", ".probe"] {
        assert!(matches!(objects.size(key).await, Err(ObjectError::NotFound)), "{key}");
        assert!(matches!(objects.read(key, 0..1).await, Err(ObjectError::NotFound)), "{key}");
        objects.delete(key).await.unwrap();
    }
    assert!(objects.begin("../secret").await.is_err());
    assert_eq!(outside.size("secret").await.unwrap(), 1);
    assert!(
        matches!(objects.read("short", 0..9).await, Err(ObjectError::Unavailable { .. })),
        "it ends before"
    );
}

#[tokio::test]
#[ignore = "needs an S3-compatible server: cargo xtask test runs it"]
async fn readiness_fails_where_the_bucket_is_not() {
    let bucket = Bucket::new("there").await;
    bucket.objects("/p").check().await.unwrap();
    let elsewhere = S3Objects::new("s3://nowhere", environment(&bucket.endpoint)).unwrap();
    assert!(elsewhere.check().await.is_err());
}

/// A store that is out of order; counts what it is asked.
async fn broken() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 4_096];
            let _ = socket.read(&mut request).await;
            let answer = b"HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = socket.write_all(answer).await;
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_store_that_is_out_of_order_is_asked_a_few_times_and_by_readiness_once() {
    let (address, asked) = broken().await;
    let objects = S3Objects::new("s3://bucket", environment(&format!("http://{address}"))).unwrap();
    assert!(matches!(objects.size("a").await, Err(ObjectError::Unavailable { .. })));
    assert_eq!(asked.swap(0, Ordering::Relaxed), 1 + RETRIES_MAX);
    assert!(objects.check().await.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn after_a_failed_write_nothing_of_an_upload_can_appear() {
    let (address, _asked) = broken().await;
    let objects = S3Objects::new("s3://bucket", environment(&format!("http://{address}"))).unwrap();
    let mut upload = objects.begin("a").await.unwrap();
    assert!(upload.write(Bytes::from(vec![0; PART_BYTES])).await.is_err());
    assert!(upload.write(Bytes::from_static(b"more")).await.is_err());
    assert!(upload.finish().await.is_err());
}

#[tokio::test]
async fn plain_http_has_to_be_allowed() {
    let (address, asked) = broken().await;
    let mut without = environment(&format!("http://{address}"));
    without.retain(|(name, _)| name != "AWS_ALLOW_HTTP");
    let objects = S3Objects::new("s3://bucket", without).unwrap();
    assert!(objects.check().await.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 0, "nothing was sent in the clear");
}

#[test]
fn urls_are_read() {
    let read = |url: &str| parsed(url).map(|(bucket, prefix)| (bucket.to_owned(), prefix.map(String::from)));
    let is = |bucket: &str, prefix: Option<&str>| Some((bucket.to_owned(), prefix.map(str::to_owned)));
    assert_eq!(read("s3://b"), is("b", None));
    assert_eq!(read("s3://b/"), is("b", None));
    assert_eq!(read("s3://b-1.x/p/q"), is("b-1.x", Some("p/q")));
    assert_eq!(read("s3://b/p/"), is("b", Some("p")));
    for bad in [
        "",
        "b",
        "s3:/b",
        "s3://",
        "s3:///p",
        "s3://b//p",
        "s3://b/../p",
        "s3://b c",
        "s3://b/p?x=1",
        "http://b",
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
}

#[test]
fn a_setting_that_cannot_be_read_is_told() {
    let mut settings = environment("https://127.0.0.1:1");
    settings.push(("AWS_TIMEOUT".into(), "soon".into()));
    assert!(matches!(S3Objects::new("s3://bucket", settings), Err(BadS3::Setting(_))));
    settings = environment("https://127.0.0.1:1");
    settings.push(("AWS_OF_SOMEBODY_ELSE".into(), "x".into()));
    assert!(S3Objects::new("s3://bucket", settings).is_ok());
}

/// A store behind TLS whose certificate nobody signed; it has nothing.
async fn encrypted() -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut request = [0; 4_096];
            let _ = socket.read(&mut request).await;
            let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = socket.write_all(answer).await;
            let _ = socket.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn a_store_is_spoken_to_over_tls_and_only_with_a_certificate_that_is_trusted() {
    let mut settings = environment(&format!("https://localhost:{}", encrypted().await.port()));
    settings.retain(|(name, _)| name != "AWS_ALLOW_HTTP");
    let strict = S3Objects::new("s3://bucket", settings.clone()).unwrap();
    assert!(matches!(strict.size("a").await, Err(ObjectError::Unavailable { .. })));

    settings.push(("AWS_ALLOW_INVALID_CERTIFICATES".into(), "true".into()));
    let trusting = S3Objects::new("s3://bucket", settings).unwrap();
    assert!(matches!(trusting.size("a").await, Err(ObjectError::NotFound)));
}
