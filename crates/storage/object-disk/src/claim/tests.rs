use object_store::memory::InMemory;

use super::*;
use crate::device::Device;
use crate::testing::{Way, Weather};

async fn write(device: &Device, lease: &Arc<Lease>, offset: u64, byte: u8) -> io::Result<()> {
    device.write(lease, offset, Bytes::from(vec![byte; 1 << 20])).await
}

async fn first_byte(device: &Device) -> u8 {
    device.read(&Arc::default(), 1 << 20, 4096).await.expect("read")[0][0]
}

async fn claim_in(device: &Device) -> Claim {
    read(&device.bucket, Sent::UntilAnswered).await.expect("read").expect("a claim")
}

#[tokio::test(start_paused = true)]
async fn who_holds_a_place_keeps_others_from_it_and_writes_nothing_once_it_was_taken() {
    let store = Arc::new(InMemory::new());
    let (first, first_lease) = Way::new(1, &store).held().await;
    let other = Way::new(2, &store).device();
    write(&first, &first_lease, 1 << 20, 1).await.expect("write");
    let error = other.hold(2).await.err().expect("its holder lives");
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
    sleep(Duration::from_secs(60)).await;
    write(&first, &first_lease, 1 << 20, 2).await.expect("it is renewed");
    first.let_go(1, &first_lease).await;
    let began = Instant::now();
    let lease = other.hold(2).await.expect("it was given back");
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits after an orderly end");
    // Somebody takes it by force.
    let claim = Claim { holder: 9, sequence: 1, is_held: true };
    first.bucket.put(NAME, claim.encode().into(), Sent::Once, || Ok(())).await.result.expect("put");
    sleep(Duration::from_secs(10)).await;
    let error = write(&other, &lease, 1 << 20, 3).await.expect_err("it was taken over");
    assert!(error.to_string().contains("another quarryd has taken it over"), "{error}");
    assert_eq!(first_byte(&other).await, 2);
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_claim_of_one_that_died_waits_until_nothing_can_come_from_it() {
    let store = Arc::new(InMemory::new());
    let claim = Claim { holder: 9, sequence: 4, is_held: true };
    let next = Way::new(2, &store).device();
    next.bucket.put(NAME, claim.encode().into(), Sent::Once, || Ok(())).await.result.expect("put");
    let began = Instant::now();
    next.hold(2).await.expect("nobody renews it");
    assert!(began.elapsed() >= LEASE_TIME + LATE_TIME_MAX, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_was_cut_off_while_another_took_its_place_writes_nothing_there_again() {
    for weather in [Weather::Refused, Weather::Mute, Weather::latest()] {
        let store = Arc::new(InMemory::new());
        let way = Way::new(1, &store);
        let (first, first_lease) = way.held().await;
        way.set(weather);
        let device = first.clone();
        let lease = first_lease.clone();
        let waiting = tokio::spawn(async move { write(&device, &lease, 1 << 20, 1).await });
        sleep(Duration::from_secs(1)).await;
        let (second, second_lease) = Way::new(2, &store).held().await;
        write(&second, &second_lease, 1 << 20, 2).await.expect("write");
        way.set(Weather::Fine);
        sleep(Duration::from_secs(200)).await;
        assert!(waiting.await.expect("no panic").is_err(), "{weather:?}");
        assert_eq!(claim_in(&second).await.holder, 2, "{weather:?}");
        write(&second, &second_lease, 2 << 20, 2).await.expect("it holds its place");
        assert_eq!(first_byte(&second).await, 2, "{weather:?}");
        assert!(first_lease.is_lost(), "{weather:?}");
        // It may ask for the place again, once the other has gone.
        assert!(first.hold(1).await.is_err());
        second.let_go(2, &second_lease).await;
        let lease = first.hold(1).await.expect("it was given back");
        write(&first, &lease, 1 << 20, 3).await.expect("it holds its place");
        let error =
            write(&first, &first_lease, 1 << 20, 4).await.expect_err("of a disk that was opened before");
        assert!(error.to_string().contains("taken it over"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_is_longer_than_the_lease_ends_well_for_all_who_waited() {
    for weather in [Weather::Refused, Weather::Mute, Weather::latest()] {
        let store = Arc::new(InMemory::new());
        let way = Way::new(1, &store);
        let (device, lease) = way.held().await;
        way.set(weather);
        // More than there may be requests: the claim is renewed all the same.
        let writes = (1..60).map(|object| {
            let (device, lease) = (device.clone(), lease.clone());
            tokio::spawn(async move { write(&device, &lease, object << 20, 1).await })
        });
        let writes: Vec<_> = writes.collect();
        sleep(Duration::from_secs(40)).await;
        way.set(Weather::Fine);
        let back = Instant::now();
        for written in writes {
            written.await.expect("no panic").unwrap_or_else(|error| panic!("{weather:?}: {error}"));
        }
        assert!(back.elapsed() < Duration::from_secs(15), "{weather:?}: {:?}", back.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_too_slow_for_a_claim_is_refused() {
    let store = Arc::new(InMemory::new());
    let way = Way::new(1, &store);
    way.set(Weather::Slow(SETTLE_TIME * 3 / 4));
    let device = way.device();
    let error = device.hold(1).await.err().expect("it is too slow");
    assert!(error.to_string().contains("a claim must be written within"), "{error}");
}

/// Draws numbers.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }

    fn weather(&mut self) -> Weather {
        match self.below(8) {
            0 => Weather::Refused,
            1 => Weather::Mute,
            2 => Weather::Slow(self.millis(3_000)),
            3 => Weather::Late(self.millis(LATE_TIME_MAX.as_millis() as u64)),
            _ => Weather::Fine,
        }
    }
}

/// The last that was told that a place is its own, and what was written by others after that.
#[derive(Default)]
struct Told {
    holder: u128,
    holders: usize,
    intrusions: Vec<String>,
}

/// Claims the place again and again, writes, lets go or dies.
async fn live(store: Arc<InMemory>, told: Arc<Mutex<Told>>, mut chance: Chance, name: u128) {
    for life in 0.. {
        let client = name + 10 * life;
        let journal = told.clone();
        let tell = move |client, path: &object_store::path::Path| {
            let mut told = journal.lock().expect("no panic under it");
            if told.holder != client && !path.as_ref().ends_with(NAME) {
                let intrusion = format!("{path} of {client}, while {} holds the place", told.holder);
                told.intrusions.push(intrusion);
            }
        };
        let way = Way::telling(client, &store, Arc::new(tell));
        let device = way.device();
        let changing = {
            let (way, mut chance) = (way.clone(), Chance(chance.below(u64::MAX)));
            tokio::spawn(async move {
                loop {
                    way.set(chance.weather());
                    sleep(chance.millis(20_000)).await;
                }
            })
        };
        if let Ok(lease) = device.hold(client).await {
            {
                let mut told = told.lock().expect("no panic under it");
                (told.holder, told.holders) = (client, told.holders + 1);
            }
            let until = Instant::now() + chance.millis(60_000);
            while Instant::now() < until && !lease.is_lost() {
                let _ = timeout(chance.millis(5_000), write(&device, &lease, (1 + chance.below(8)) << 20, 1))
                    .await;
                sleep(chance.millis(1_000)).await;
            }
            if chance.below(2) == 0 {
                device.let_go(client, &lease).await;
            }
        }
        changing.abort();
        let _ = changing.await;
        // What it has sent may still come.
        way.set(Weather::Mute);
        sleep(chance.millis(5_000)).await;
    }
}

#[test]
fn nothing_is_written_by_anyone_but_the_last_that_was_told_that_it_holds_the_place() {
    let mut holders = 0;
    for seed in 0..120 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let told = Arc::new(Mutex::new(Told::default()));
        runtime.expect("a runtime").block_on(async {
            let store = Arc::new(InMemory::new());
            for name in 1..=3 {
                let chance = Chance(seed * 8 + name as u64);
                tokio::spawn(live(store.clone(), told.clone(), chance, name));
            }
            sleep(Duration::from_secs(1_200)).await;
        });
        let told = told.lock().expect("no panic under it");
        assert!(told.intrusions.is_empty(), "seed {seed}: {:?}", told.intrusions);
        holders += told.holders;
    }
    assert!(holders > 1_000, "the place changed hands only {holders} times");
}
