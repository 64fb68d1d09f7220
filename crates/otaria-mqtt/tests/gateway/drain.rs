//! A gateway that stops sends its devices away one by one.

use std::time::Duration;

use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::clock::Clock;
use otaria_ports::presence::Presence;
use otaria_ports::pusher::{Notice, Outcome, Pusher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, hung_up, raw_device};
use crate::world::{HostClock, World, device, eventually};

const SPREAD: Duration = Duration::from_millis(1_600);

/// `dev_0009` may not connect.
fn numbers() -> impl Iterator<Item = i64> {
    (1..=17).filter(|n| *n != 9)
}

fn spreading() -> World {
    World::with(|config| config.drain_spread = SPREAD)
}

#[tokio::test]
async fn its_connections_end_spread_over_the_span() {
    let mut world = spreading();
    let mut waiting = Vec::new();
    for n in numbers() {
        let mut socket = raw_device(world.plain, n).await;
        waiting.push(tokio::spawn(async move {
            hung_up(&mut socket).await;
            HostClock.now()
        }));
    }
    let begun = HostClock.now();
    world.begin_stop();
    let mut ends: Vec<Timestamp> = Vec::new();
    for socket in waiting {
        ends.push(socket.await.unwrap());
    }
    world.stopped().await;

    ends.sort_unstable();
    assert!(ends[ends.len() - 1].since(begun) < 2 * SPREAD);
    // Sixteen devices, a tenth of a second apart: in no quarter of the span may much more than a quarter leave.
    for window in ends.windows(9) {
        assert!(window[8].since(window[0]) >= SPREAD / 4, "nine at once: {ends:?}");
    }
    assert_eq!(world.presence.snapshot(Shard(3)).await.unwrap(), []);
}

#[tokio::test]
async fn nobody_is_taken_in_meanwhile_and_those_who_are_left_are_served() {
    let mut world = spreading();
    let mut sockets = Vec::new();
    for n in numbers() {
        sockets.push((n, raw_device(world.plain, n).await));
    }
    world.begin_stop();
    eventually(|| {
        let late = std::net::TcpStream::connect_timeout(&world.plain, Duration::from_millis(100));
        late.is_err().then_some(())
    })
    .await;

    // Whoever presence still knows is answered, or was sent away in this very moment.
    let mut served = 0;
    for (n, mut socket) in sockets {
        if world.session(n).await.is_some() && is_served(&mut socket).await {
            served += 1;
        }
    }
    assert!(served > 0);
    world.stopped().await;
}

/// Whether a PINGREQ is answered; the other side may have hung up.
async fn is_served(socket: &mut TcpStream) -> bool {
    let mut answer = [0; 2];
    socket.write_all(&[0xc0, 0]).await.is_ok()
        && socket.read_exact(&mut answer).await.is_ok()
        && answer == [0xd0, 0]
}

#[tokio::test]
async fn notices_go_out_until_the_end_and_each_has_its_outcome() {
    let mut world = spreading();
    let mut clients = Vec::new();
    for n in numbers() {
        clients.push((n, Client::device(world.plain, n).await));
    }
    let mut notices = Vec::new();
    for n in numbers() {
        notices.push(world.notice(n).await);
    }
    world.begin_stop();
    // Ten rounds, one each tenth of the span, each a notice for every device that there was.
    let mut sent: usize = 0;
    for _ in 0..10 {
        let now = HostClock.now();
        let round: Vec<Notice> =
            notices.iter().map(|notice| Notice { not_before: now, ..notice.clone() }).collect();
        sent += round.len();
        world.pusher.send(round).await.unwrap();
        tokio::time::sleep(SPREAD / 10).await;
    }
    world.stopped().await;

    let outcomes: Vec<_> = world.inbox.outcomes.lock().unwrap().clone();
    assert_eq!(outcomes.len(), sent, "no notice is without an outcome");
    let written = |n: i64| {
        let of = outcomes.iter().filter(|settled| settled.key.device == device(n));
        of.filter(|settled| settled.outcome == Outcome::Written).count()
    };
    assert!(outcomes.iter().all(|settled| matches!(settled.outcome, Outcome::Written | Outcome::Gone)));
    let counts: Vec<usize> = numbers().map(written).collect();
    assert!(counts.iter().max() > counts.iter().min(), "some left earlier: {counts:?}");
    assert!(counts.iter().any(|count| *count >= 6), "some stayed and were served: {counts:?}");
    // What was said to be written was read on the other side.
    for (n, mut client) in clients {
        let mut got = 0;
        while let Some(packet) = client.packet().await {
            got += usize::from(matches!(packet, rumqttc::Packet::Publish(_)));
        }
        // An acknowledgement that crosses the end may cost the device what it has not read yet.
        assert!(got <= written(n) && got + 1 >= written(n), "dev_{n:04}: {got} of {}", written(n));
    }
}

#[tokio::test]
async fn without_a_span_all_end_at_once() {
    let mut world = World::start();
    let mut sockets = Vec::new();
    for n in numbers() {
        sockets.push(raw_device(world.plain, n).await);
    }
    let begun = HostClock.now();
    world.begin_stop();
    for socket in &mut sockets {
        hung_up(socket).await;
    }
    assert!(HostClock.now().since(begun) < Duration::from_secs(1));
    world.stopped().await;
}
