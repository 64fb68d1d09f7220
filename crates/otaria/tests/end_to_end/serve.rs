//! `otaria serve` as its operator sees it: how it starts, what it says, how it stops.

use std::time::Duration;

use otaria_proto::v1::GetServerInfoRequest;
use tokio::time::Instant;

use crate::device::{Device, Temper};
use crate::eventually;
use crate::http;
use crate::rollout::{create_by_list, firmware, product, query, register};
use crate::server::{Addresses, Server, otaria, run};

const PATIENCE: Duration = Duration::from_secs(30);

/// An operator who stops a server does not wait longer than this.
const STOP: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_stops_it_soon_and_cleanly_in_the_middle_of_a_job() {
    let mut server = Server::new(Addresses::fixed(), &["--api-quota", "off"]);
    server.up().await;
    let faces = server.faces();
    let product = product(&faces, "stop_test").await;
    let identities = register(&faces, &product, (0..200).map(|n| format!("unit-{n:03}"))).await;
    let good = Temper::Good(Duration::from_millis(50));
    let start = |identity| Device::start(server.at().mqtt, &product, identity, good);
    let devices: Vec<Device> = identities.iter().map(start).collect();
    eventually("all are online", PATIENCE, async || devices.iter().all(Device::is_online).then_some(()))
        .await;
    let firmware = firmware(&faces, &product, "2.0.0").await;
    let names: Vec<&str> = devices.iter().map(Device::name).collect();
    let job = create_by_list(&faces, &product, &firmware, names.join("\n").as_bytes(), 2_000).await;
    eventually("some are told", PATIENCE, async || {
        devices[..].iter().any(|d| d.was_told("2.0.0")).then_some(())
    })
    .await;

    let key = server.admin_key();
    let begun = Instant::now();
    let status = server.terminate().await;
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < STOP, "it took {:?}", begun.elapsed());
    server.assert_no_panic();

    // The next start goes on where this one stopped, with the same key.
    server.up().await;
    assert_eq!(server.admin_key(), key);
    eventually("all are done", Duration::from_secs(60), async || {
        let counts = query(&faces, &job).await.task_counts.unwrap_or_default();
        (counts.succeeded == 200).then_some(())
    })
    .await;
    for device in &devices {
        assert_eq!(device.seen("2.0.0").len(), 1, "{}", device.name());
    }
    server.assert_healthy().await;
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn a_second_server_on_the_same_directory_or_port_is_refused() {
    let mut server = Server::start().await;
    let any = ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"];
    let mut second = otaria();
    second.args(["serve", "--json", "--data-dir"]).arg(server.data_dir()).args(any);
    let ended = run(&mut second, PATIENCE).await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("another server works in"), "{}", ended.stderr);
    assert!(ended.stderr.contains(&server.data_dir().display().to_string()), "{}", ended.stderr);
    assert_eq!(ended.stdout, "");

    for face in ["grpc", "http", "mqtt"] {
        let folder = tempfile::tempdir().unwrap();
        let at = server.at();
        let taken = [("grpc", at.grpc), ("http", at.http), ("mqtt", at.mqtt)];
        let taken = taken.iter().find(|(name, _)| *name == face).unwrap().1.to_string();
        let mut third = otaria();
        third.args(["serve", "--json", "--data-dir"]).arg(folder.path().join("data"));
        for other in ["grpc", "http", "mqtt"] {
            let address = if other == face { taken.as_str() } else { "127.0.0.1:0" };
            third.args([format!("--{other}"), address.to_owned()]);
        }
        let ended = run(&mut third, PATIENCE).await;
        assert_eq!(ended.status.code(), Some(1), "{face}");
        assert!(ended.stderr.contains(&format!("cannot listen on {taken}")), "{face}: {}", ended.stderr);
    }
    server.assert_healthy().await;
}

#[tokio::test]
async fn it_says_where_it_listens_and_its_key_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for start in ["first", "second"] {
        let mut command = otaria();
        command.args(["serve", "--data-dir"]).arg(&data);
        command.args(["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        let mut lines = lines(child.stdout.take().unwrap());
        let ready = lines.next_line().await.unwrap().unwrap();
        assert!(ready.starts_with("Otaria is ready: gRPC 127.0.0.1:"), "{ready}");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut rest = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            rest.push_str(&line);
        }
        assert!(child.wait().await.unwrap().success());
        let kept = std::fs::read_to_string(data.join("access-key")).unwrap();
        let secret = kept.lines().find_map(|line| line.strip_prefix("secret=")).unwrap();
        assert_eq!(rest.contains(secret), start == "first", "{rest}");
    }
}

fn lines(
    out: tokio::process::ChildStdout,
) -> tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStdout>> {
    use tokio::io::AsyncBufReadExt;
    tokio::io::BufReader::new(out).lines()
}

#[tokio::test]
async fn port_zero_takes_free_ports_and_all_faces_answer_there() {
    let mut server = Server::start_with(&["--maximum-per-minute-ceiling", "off"]).await;
    let at = server.at();
    assert!([at.grpc, at.http, at.mqtt].iter().all(|address| address.port() > 0));
    assert_eq!(http::get(at.http, "/healthz").await.status, 200);
    let info = server.faces().access().get_server_info(GetServerInfoRequest {}).await.unwrap().into_inner();
    let addresses: Vec<&str> = info.faces.iter().map(|face| face.address.as_str()).collect();
    assert_eq!(addresses, [at.grpc.to_string(), at.http.to_string(), at.mqtt.to_string()]);
    let limits = info.limits.unwrap();
    assert_eq!(limits.maximum_per_minute_ceiling, None);
    assert!(limits.api_quota_enabled);
    server.assert_healthy().await;
}

#[tokio::test]
async fn a_config_is_checked_and_what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("otaria.toml");
    let check = async |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let mut command = otaria();
        command
            .current_dir(folder.path())
            .args(["serve", "--check-config", "--config"])
            .arg(&file)
            .args(more);
        run(&mut command, PATIENCE).await
    };
    let good = check("[limits]\nlist_max_lines = 17\n", &["--maximum-per-minute-ceiling", "700"]).await;
    assert!(good.status.success(), "{}", good.stderr);
    assert!(good.stdout.contains("list_max_lines: 17") && good.stdout.contains("700"), "{}", good.stdout);

    for (text, more, named) in [
        ("[limits]\nlist_max_line = 17\n", &[][..], "list_max_line"),
        ("[limits]\nlist_max_lines = -1\n", &[], "list_max_lines"),
        ("[limits]\nmaximum_per_minute_ceiling = 9\n", &[], "neither a number from 10 nor"),
        ("[mqtt]\nlisten = \"nowhere\"\n", &[], "listen"),
        ("[mqtt]\ntls_listen = \"127.0.0.1:8883\"\n", &[], "tls_listen needs"),
        ("[grpc]\nlisten = \"0.0.0.0:1\"\n", &[], "--allow-plaintext"),
        ("nonsense", &[], "otaria.toml"),
        ("", &["--grpc", "0.0.0.0:1"], "--allow-plaintext"),
    ] {
        let bad = check(text, more).await;
        assert_eq!(bad.status.code(), Some(1), "{text}");
        assert!(bad.stderr.contains(named), "{text}: {}", bad.stderr);
    }
    for flag in [["--api-quota", "perhaps"], ["--maximum-per-minute-ceiling", "9"], ["--grpc", "x"]] {
        let bad = check("", &flag).await;
        assert_eq!(bad.status.code(), Some(2), "{flag:?}: {}", bad.stderr);
        assert!(bad.stderr.contains(flag[0]), "{}", bad.stderr);
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["otaria.toml"], "a check makes nothing");
}
