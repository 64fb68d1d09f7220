//! Serves one package of random-looking bytes, for load tests of downloads without a whole server:
//!
//! ```text
//! cargo run --release -p otaria-openapi --example packages -- [address] [bytes]
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusBuilder;
use otaria_core::ids::FirmwareNo;
use otaria_core::link::{self, Link, LinkKey, Linked};
use otaria_core::time::Timestamp;
use otaria_objects::FolderObjects;
use otaria_openapi::{Check, FaceParts, HttpFace, Limits, Packages, StoreRejects, serve};
use otaria_ports::clock::Clock;
use otaria_ports::events::NoEvents;
use otaria_ports::objects::Objects;
use otaria_ports::store::memory::MemoryStore;
use otaria_ports::store::{PackageFile, StoreError};

const PIECE: usize = 64 * 1024;

struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "an example is its own rim")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH + since
    }
}

struct OnePackage(PackageFile);

#[async_trait]
impl Packages for OnePackage {
    async fn package_file(&self, _: FirmwareNo, file: u8) -> Result<Option<PackageFile>, StoreError> {
        Ok((file == 0).then(|| self.0.clone()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:8080".into());
    let size: u64 = args.next().map_or(Ok(1 << 20), |bytes| bytes.parse())?;

    let folder: PathBuf = std::env::temp_dir().join(format!("otaria-packages-{}", std::process::id()));
    let objects = FolderObjects::open(&folder).await?;
    put_package(&objects, size).await?;

    let package = PackageFile {
        name: "package.bin".into(),
        url: String::new(),
        object: "package".into(),
        size,
        md5: String::new(),
        sha256: "0".repeat(64),
    };
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let key = LinkKey::new([42; 32]);
    let to_check = objects.clone();
    let face = HttpFace::new(FaceParts {
        clock: Arc::new(SystemClock),
        link_key: key.clone(),
        packages: Arc::new(OnePackage(package)),
        rejects: Arc::new(StoreRejects(Arc::new(MemoryStore::new(Arc::new(NoEvents))))),
        objects: Arc::new(objects),
        ready: Arc::new(move || {
            let objects = to_check.clone();
            Box::pin(async move {
                let trouble = objects.check().await.err().map(|error| error.to_string());
                vec![Check { name: "objects", trouble }]
            })
        }),
        metrics: Arc::new(move || metrics.render()),
        grpc: "nowhere".into(),
        api: None,
    });

    let listener = tokio::net::TcpListener::bind(&address).await?;
    let to = Linked::PackageFile { firmware: FirmwareNo(1), file: 0 };
    let expires_at = SystemClock.now() + Duration::from_secs(24 * 3_600);
    println!("OTARIA_DOWNLOAD_PATH=/d/{}", link::sign(&key, Link { to, expires_at }));
    println!("listening on {}", listener.local_addr()?);

    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    let drained = serve(listener, face, None, Limits::default(), stop).await;
    println!("stopped, {} connections cut", drained.cut);
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

async fn put_package(objects: &FolderObjects, size: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut upload = objects.begin("package").await?;
    let mut left = usize::try_from(size)?;
    let piece: Vec<u8> = (0_u32..).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).take(PIECE).collect();
    while left > 0 {
        let part = left.min(PIECE);
        upload.write(piece[..part].to_vec().into()).await?;
        left -= part;
    }
    upload.finish().await?;
    Ok(())
}
