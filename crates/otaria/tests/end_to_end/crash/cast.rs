//! The devices of the story.

use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;

use super::killer::Dice;
use crate::device::{Device, Temper};
use crate::eventually;
use crate::faces::Faces;
use crate::rollout::{product, register};

const REGISTERED: usize = 40_000;
/// Registered, but on no list.
const UNLISTED: usize = 500;
const ONLINE: usize = 240;
/// Online, and at the destination before the job is made.
const AHEAD: usize = 12;
/// Of those online: they report a failure at every attempt.
const FAILING: usize = 20;
const SLOW: usize = 150;

/// The longest that a device works at an update, in milliseconds, if it reports while it works.
const WORK_MS: u64 = 3_000;
/// And if it does not: past the 5 s after which a notice that may have been lost is written again.
const MUTE_MS: u64 = 7_000;

/// All devices, on the stage or not.
pub(super) struct Cast {
    pub(super) product: String,
    pub(super) names: Vec<String>,
    /// Connected, on the list, to be updated.
    pub(super) online: Vec<Device>,
    /// Connected, on the list, and at the destination version already.
    pub(super) ahead: Vec<Device>,
    pub(super) slow_product: String,
    pub(super) slow: Vec<Device>,
}

impl Cast {
    /// Registers everybody, and waits until all that shall be online are.
    pub(super) async fn gather(faces: &Faces, mqtt: SocketAddr, dice: &mut Dice) -> Self {
        let product_key = product(faces, "crash_test").await;
        let names = (0..REGISTERED).map(|n| format!("unit-{n:05}"));
        let mut identities = register(faces, &product_key, names).await;
        dice.shuffle(&mut identities);
        let listed = &identities[UNLISTED..];
        let names = listed.iter().map(|identity| identity.name.clone()).collect();
        let online = listed[..ONLINE].iter().enumerate().map(|(n, identity)| {
            let mut up_to = |most| Duration::from_millis(dice.below(most));
            let temper = match n {
                0..FAILING => Temper::Failing,
                _ if n % 2 == 0 => Temper::Good(up_to(WORK_MS)),
                _ => Temper::Mute(up_to(MUTE_MS)),
            };
            // A failure that is lost is a device that never answers; a version is told again anyway.
            let qos = if n >= FAILING && n % 3 == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
            Device::start_at("1.0.0", qos, mqtt, &product_key, identity, temper)
        });
        let online: Vec<Device> = online.collect();
        let good = Temper::Good(Duration::ZERO);
        let ahead = listed[ONLINE..ONLINE + AHEAD].iter();
        let ahead = ahead.map(|identity| Device::start(mqtt, &product_key, identity, good)).collect();

        let slow_product = product(faces, "crash_slow").await;
        let slow = register(faces, &slow_product, (0..SLOW).map(|n| format!("slow-{n:03}"))).await;
        let slow = slow.iter().map(|identity| Device::start(mqtt, &slow_product, identity, good)).collect();
        let cast = Self { product: product_key, names, online, ahead, slow_product, slow };
        eventually("everybody is online", Duration::from_secs(60), async || {
            let all = cast.online.iter().chain(&cast.ahead).chain(&cast.slow);
            all.into_iter().all(Device::is_online).then_some(())
        })
        .await;
        cast
    }

    /// Brings some devices to the version before anybody is told to.
    pub(super) async fn run_ahead(&self, version: &str) {
        self.ahead.iter().for_each(|device| device.become_version(version));
        eventually("versions are informed", Duration::from_secs(60), async || {
            self.ahead.iter().all(|device| device.informed() == version).then_some(())
        })
        .await;
    }

    /// How many tasks become final by themselves: those of the devices that are online.
    pub(super) fn final_devices(&self) -> i64 {
        i64::try_from(self.online.len()).unwrap()
    }

    /// Waits until so many percent of the devices that are to be updated are as `is` says. Those that fail
    /// at every attempt do not count.
    pub(super) async fn until(
        &self,
        what: &str,
        patience: Duration,
        percent: u64,
        is: impl Fn(&Device) -> bool,
    ) {
        let good: Vec<_> = self.online.iter().filter(|device| device.temper() != Temper::Failing).collect();
        let wanted = good.len() * usize::try_from(percent).unwrap() / 100;
        eventually(what, patience, async || {
            (good.iter().filter(|device| is(device)).count() >= wanted).then_some(())
        })
        .await;
    }
}
